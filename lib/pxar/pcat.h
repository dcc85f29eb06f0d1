#ifndef CALA_PXAR_PCAT_H
#define CALA_PXAR_PCAT_H

/* pcat: what writer and reader of the catalog share. */

#include "pxar/pxar.h"

enum { PCAT_NAME_MAX = 4095 };

extern const unsigned char pcat_magic[8];

#endif
