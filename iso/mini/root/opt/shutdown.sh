#!/bin/sh
# Commands of yours that run before the power goes off.
