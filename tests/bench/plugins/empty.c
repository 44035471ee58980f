/* SPDX-License-Identifier: ISC */
/* empty - the least that a plugin can be: built as ours is, it does nothing */
int
main(void)
{
	return 0;
}
