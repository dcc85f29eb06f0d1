/* cala-s3: backups as archives in a bucket of an S3-compatible store. */

#include "driver/s3.h"
#include "front/front.h"

int
main(int argc, char **argv)
{
	front_keys();
	return driver_main(&s3_driver, argc, argv);
}
