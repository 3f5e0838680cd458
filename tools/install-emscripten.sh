#!/usr/bin/env bash
# install-emscripten.sh DIR: make a working Emscripten >= 3.1.69 in DIR on Debian 12, from Debian packages alone.
#
# Debian 12's own emscripten (3.1.6) predates the final relaxed-SIMD instructions. Debian 13's is new enough:
#   - the emscripten package (arch: all; ships its system libraries prebuilt) is unpacked, not installed;
#   - clang, lld and llvm 19 come from Debian 12 itself (tools/setup.mjs installs them);
#   - Debian 13's binaryen needs its own libc, so both are unpacked, and each wasm-* tool is started
#     through Debian 13's dynamic loader.
# Nothing of Debian 13 is installed on the host. DIR appears only when it is complete.
set -euo pipefail
dir=${1:?usage: install-emscripten.sh DIR}
suite=trixie

mkdir -p "$(dirname "$dir")"
work=$(mktemp -d "$dir.partial-XXXXXX")
chmod 755 "$work"
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/debs" "$work/apt/lists/partial" "$work/apt/archives/partial" "$work/root" "$work/binaryen/bin"

# The mirror is whatever apt is set up with.
mirror=$(apt-get indextargets --format '$(REPO_URI)|$(RELEASE)' 'Created-By: Packages' \
  | awk -F'|' '$1 !~ /security/ && $2 !~ /updates|backports/ && !found { print $1; found = 1 }')
[ -n "$mirror" ] || { echo "no Debian mirror is configured in apt" >&2; exit 1; }
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite main" > "$work/apt/$suite.list"
apt=(apt-get -qq
  -o Dir::Etc::SourceList="$work/apt/$suite.list" -o Dir::Etc::SourceParts=-
  -o Dir::State::Lists="$work/apt/lists"
  -o Dir::Cache="$work/apt" -o Dir::Cache::archives="$work/apt/archives" -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache=
  -o Debug::NoLocking=1 -o APT::Sandbox::User="$(id -un)")
"${apt[@]}" update
(cd "$work/debs" && "${apt[@]}" download emscripten binaryen libc6 libstdc++6 libgcc-s1 gcc-14-base)

# The position-independent libraries are for dynamic linking, which we do not do: a gigabyte saved.
for package in "$work"/debs/*.deb; do
  dpkg-deb --fsys-tarfile "$package" | tar -x -C "$work/root" --exclude='*/wasm32-emscripten/pic' \
    --exclude='*/wasm32-emscripten/lto-pic' --exclude='./usr/share/doc'
done
rm -rf "$work/debs" "$work/apt"

loader=$(find "$work/root" -name 'ld-linux-*.so.*' -type f -printf '%P\n' -quit)
libraries=$(dirname "$(find "$work/root" -name libc.so.6 -printf '%P\n' -quit)")
for tool in "$work"/root/usr/bin/wasm*; do
  name=$(basename "$tool")
  cat > "$work/binaryen/bin/$name" <<WRAPPER
#!/bin/sh
root="\${0%/*}/../../root"
exec "\$root/$loader" --library-path "\$root/$libraries" "\$root/usr/bin/$name" "\$@"
WRAPPER
  chmod +x "$work/binaryen/bin/$name"
done

emscripten="$work/root/usr/share/emscripten"
(cd "$emscripten" && npm install --no-save --silent --ignore-scripts --no-audit --no-fund acorn@8 </dev/null >/dev/null)
sed -i -e "s#^BINARYEN_ROOT.*#BINARYEN_ROOT = '$dir/binaryen'#" -e "s#^NODE_JS .*#NODE_JS = 'node'#" "$emscripten/.emscripten"
ln -s root/usr/share/emscripten "$work/emscripten"

# Whoever comes second, of two that run at once, keeps what the first has made.
mv -T "$work" "$dir" 2>/dev/null || [ -e "$dir/emscripten/emcc" ]
