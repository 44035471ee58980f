/* SPDX-License-Identifier: ISC */
#include "actions/block.h"

const struct block_ops *const block_table[] = {
	&block_ipsvd,
	&block_tcprules,
	NULL,
};
