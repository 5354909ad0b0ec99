/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Where it was compiled: not to be seen in the result. */
const char *file = __FILE__;
