/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#define INFO(name, text) \
	static const char name[] __attribute__((used, section(".modinfo"), aligned(1))) = text

INFO(vermagic, "vermagic=" RELEASE " SMP mod_unload ");
INFO(depends, "depends=");
INFO(license, "license=GPL");
