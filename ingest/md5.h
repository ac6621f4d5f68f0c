/* MD5, for hashmod only: upstream shards by it, so ours must place targets on the same shards. */
#pragma once

#include "base/str.h"

void md5(struct str bytes, uint8_t ret_digest[16]);
