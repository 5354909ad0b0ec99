#!/bin/sh
# Commands of yours that run at boot, in the background.
