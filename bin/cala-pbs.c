/* cala-pbs: backups as snapshots on a Proxmox Backup Server. */

#include <string.h>

#include "driver/pbs.h"
#include "driver/pbs_put.h"
#include "front/front.h"

int
main(int argc, char **argv)
{
	front_keys();
	if (argc > 1 && strcmp(argv[1], "key") == 0)
		return pbs_key_main(argc, argv);
	return driver_main(&pbs_driver, argc, argv);
}
