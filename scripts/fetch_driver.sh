#!/bin/sh
# Installs Mesa's software Vulkan driver where no driver of a GPU is found, so that tests of kernels on GPUs can run: Debian's
# packages, as root.
set -eu
for folder in /usr/share/vulkan/icd.d /usr/local/share/vulkan/icd.d /etc/vulkan/icd.d; do
    if [ -n "$(ls "$folder" 2>/dev/null)" ]; then
        echo "a Vulkan driver is there: $folder"
        exit 0
    fi
done
if [ "$(uname)" != Linux ] || [ -n "${VK_DRIVER_FILES:-}${VK_ICD_FILENAMES:-}" ]; then
    exit 0
fi
[ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || { echo "no Vulkan driver is found, and none can be installed" >&2; exit 1; }
apt-get update -qq
apt-get install -y -qq --no-install-recommends mesa-vulkan-drivers libvulkan1
