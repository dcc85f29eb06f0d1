/* cala-restic: backups as snapshots of a restic repository. */

#include "driver/restic.h"

int
main(int argc, char **argv)
{
	return driver_main(&restic_driver, argc, argv);
}
