# shellcheck shell=bash
# What the commands that need root begin with: `root` is what runs a command as root, nothing or sudo. They call
# scripts/setup without it, so that .venv belongs to whoever calls them.
# shellcheck disable=SC2034  # whoever begins with this uses it

root=()
if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || {
        echo "$0: network namespaces need root, and there is no sudo here; run it as root." >&2
        exit 77
    }
    root=(sudo)
fi
