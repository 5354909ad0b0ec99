/* SPDX-License-Identifier: MIT OR Apache-2.0 */
int waiting(void) { return sizeof("waiting"); }
