#!/bin/sh
# Say what a machine lacks before anything is installed. Argument: the Python to use.
missing=0
say() { echo "missing: $1" >&2; missing=1; }
command -v cargo >/dev/null || say "a Rust toolchain (cargo); see rustup.rs or your distribution's rustc and cargo, 1.90 or newer"
command -v cc >/dev/null || say "a C compiler (cc); on Debian: apt-get install gcc g++"
command -v c++ >/dev/null || say "a C++ compiler (c++); on Debian: apt-get install g++"
if ! command -v "$1" >/dev/null; then
  say "Python 3.11 or newer ($1 is not there; name another with make PYTHON=...)"
elif ! "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
  say "Python 3.11 or newer ($1 is $("$1" -V 2>&1); name another with make PYTHON=...)"
elif ! "$1" -c 'import venv, ensurepip' 2>/dev/null; then
  say "Python's venv module; on Debian: apt-get install python3-venv"
fi
exit $missing
