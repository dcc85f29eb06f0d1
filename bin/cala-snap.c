/* cala-snap: backups as Btrfs or ZFS snapshots. */

#include "driver/snap.h"

int
main(int argc, char **argv)
{
	return driver_main(&snap_driver, argc, argv);
}
