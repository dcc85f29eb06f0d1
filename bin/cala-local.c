/* cala-local: backups as archives in a folder. */

#include "driver/local.h"

int
main(int argc, char **argv)
{
	return driver_main(&local_driver, argc, argv);
}
