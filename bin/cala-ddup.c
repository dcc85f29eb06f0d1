/* cala-ddup: backups in a deduplicating repository of ddup-bak. */

#include "driver/ddup.h"

int
main(int argc, char **argv)
{
	return driver_main(&ddup_driver, argc, argv);
}
