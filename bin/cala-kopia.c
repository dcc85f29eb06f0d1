/* cala-kopia: backups in a Kopia repository. */

#include "driver/kopia.h"

int
main(int argc, char **argv)
{
	return driver_main(&kopia_driver, argc, argv);
}
