#ifndef CALA_CHUNK_GEAR_H
#define CALA_CHUNK_GEAR_H

/* gear: the random numbers of FastCDC; for this room only. */

#include <stdint.h>

extern const uint64_t gear[256], gear_twice[256];

#endif
