#!/bin/sh
# Fill a virtual environment with this checkout and with exactly the packages of constraints.txt.
#
#   sh tools/install.sh VENV [EXTRAS]      in the root of the repository; PYTHON names the interpreter to make VENV with
#
# While it works, VENV holds a file .installing. If that file is still there at the next start, the installation was
# cut short, nothing in VENV can be trusted, and it is made anew. Whatever goes wrong is said in one sentence, and
# what pip wrote is kept in VENV/pip.log.
set -eu

venv=$1
extras=${2:-}
log=$venv/pip.log
oldest_minor=11 # as requires-python in pyproject.toml
cpu_index=https://download.pytorch.org/whl/cpu

say() { printf '%s\n' "$*"; }
fail() {
    say "$*" >&2
    exit 1
}

# The version, as 3.12, of the interpreter $1; nothing, and a failure, if it cannot be run or prints none.
version_of() { "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null | grep '^[0-9]'; }

new_enough() {
    case $1 in
    3.*[!0-9]*) return 1 ;;
    3.[0-9]*) [ "${1#3.}" -ge "$oldest_minor" ] ;;
    *) return 1 ;;
    esac
}

# Set $python to an interpreter that is new enough, or end.
find_python() {
    hint="install one from https://www.python.org/downloads/, or name the one you have: make dashboard PYTHON=/path/to/python3"
    if [ -n "${PYTHON:-}" ]; then
        version=$(version_of "$PYTHON") || fail "PYTHON=$PYTHON cannot be run as a Python interpreter; $hint"
        new_enough "$version" ||
            fail "PYTHON=$PYTHON is Python $version, but the explorer needs Python 3.$oldest_minor or newer; $hint"
        python=$PYTHON
        return
    fi
    found=
    for python in python3.13 python3.12 python3.11 python3 python; do
        version=$(version_of "$python") || continue
        if new_enough "$version"; then return; fi
        found="$found $version"
    done
    fail "The explorer needs Python 3.$oldest_minor or newer, and this machine has ${found:-none}; $hint"
}

venv_python() {
    if [ -d "$venv/Scripts" ]; then say "$venv/Scripts/python"; else say "$venv/bin/python"; fi
}

usable() {
    there=$(version_of "$(venv_python)") && new_enough "$there" && "$(venv_python)" -m pip --version >/dev/null 2>&1
}

make_venv() {
    if [ -e "$venv/.installing" ]; then
        say "The last installation was cut short: starting afresh."
        rm -rf "$venv"
    fi
    if usable; then
        : >"$venv/.installing"
        return
    fi
    if [ -e "$venv" ] && [ ! -e "$venv/pyvenv.cfg" ]; then
        fail "$venv exists and is not a virtual environment: move it away, or choose another place: make dashboard VENV=.venv2"
    fi
    "$python" -c 'import ensurepip, venv' 2>/dev/null ||
        fail "Python $version has no module venv; on Debian and Ubuntu install it with: sudo apt-get install python$version-venv"
    rm -rf "$venv"
    mkdir -p "$venv"
    : >"$venv/.installing"
    say "Making $venv with Python $version"
    "$python" -m venv "$venv" >>"$log" 2>&1 ||
        fail "Python $version could not make the virtual environment $venv; why is in $log"
}

# Run pip under the pins, which hold for what it builds with, too.
pip() {
    PIP_CONSTRAINT=constraints.txt PIP_BUILD_CONSTRAINT=constraints.txt \
        "$(venv_python)" -m pip --disable-pip-version-check "$@" >>"$log" 2>&1 || explain_pip
}

explain_pip() {
    rm -f "$venv/.installing" # pip has ended in good order: what it had finished is whole
    if grep -q 'No space left on device' "$log"; then
        fail "The disk is full (the explorer takes about 1.6 GB): make room and run make again; pip's log is $log"
    elif grep -qE 'NewConnectionError|NameResolutionError|ConnectTimeoutError|ReadTimeoutError|ProxyError|SSLError' "$log"; then
        fail "Packages could not be fetched: is this machine on the internet? Connect it and run make again; pip's log is $log"
    fi
    fail "pip could not install the packages ($(grep '^ERROR:' "$log" | tail -n 1)); its whole log is $log"
}

install_torch() {
    case $(uname -s) in
    Darwin) pip install --no-deps "torch==$torch" ;; # has no CUDA build
    *)
        # The name "+cpu" exists in that index alone, so no CUDA build can be taken instead.
        pip install --no-deps --extra-index-url "$cpu_index" --retries 2 --timeout 15 "torch==$torch+cpu"
        ;;
    esac
}

if [ "$(uname -s) $(uname -m)" = "Darwin x86_64" ]; then
    fail "PyTorch is no longer built for Macs with an Intel processor on PyPI; use conda instead: conda env create -f environment.yml"
fi
if [ -n "${PYTHON:-}" ] || ! usable; then find_python; fi # a PYTHON that is named must be one
make_venv
: >"$log"
torch=$(sed -n 's/^torch==//p' constraints.txt)
has_torch='import sys; from importlib.metadata import version as v; sys.exit(v("torch").split("+")[0] != sys.argv[1])'
if "$(venv_python)" -c "$has_torch" "$torch" 2>/dev/null; then
    say "Checking PyTorch, which is there, and the other packages"
else
    say "Installing PyTorch (a download of about 200 MB) and the other packages (about 150 MB)"
fi
install_torch
pip install --editable ".${extras:+[$extras]}"
pip check
rm -f "$venv/.installing"
