/* SPDX-License-Identifier: MIT OR Apache-2.0 */
static int unused;

int broken(void)
{
	return undeclared_thing;
}
