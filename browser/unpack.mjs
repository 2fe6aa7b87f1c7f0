// Unpack the Chromium of @sparticuz/chromium: node unpack.mjs DIRECTORY. The result starts as DIRECTORY/chromium.
// The package is made for a cloud function; here its libraries and font serve a machine that has neither, without root.
import { execFileSync } from "node:child_process";
import { chmodSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { brotliDecompressSync } from "node:zlib";

const target = resolve(process.argv[2]);
const source = join(dirname(fileURLToPath(import.meta.url)), "node_modules/@sparticuz/chromium/bin");
const partial = `${target}.partial`;

rmSync(partial, { recursive: true, force: true });
mkdirSync(partial, { recursive: true });
for (const name of ["al2023", "fonts", "swiftshader"]) {
  const archive = join(partial, `${name}.tar`);
  writeFileSync(archive, brotliDecompressSync(readFileSync(join(source, `${name}.tar.br`))));
  execFileSync("tar", ["--extract", "--no-same-owner", "--file", archive, "--directory", partial]);
  rmSync(archive);
}
writeFileSync(join(partial, "chromium.bin"), brotliDecompressSync(readFileSync(join(source, "chromium.br"))));
chmodSync(join(partial, "chromium.bin"), 0o755);

// The packaged font list names folders of the cloud function only, and a page without a font has no text at all.
writeFileSync(
  join(partial, "fonts.conf"),
  `<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig>
  <dir prefix="relative">fonts</dir>
  <dir>/usr/share/fonts</dir>
  <cachedir prefix="xdg">fontconfig</cachedir>
</fontconfig>
`,
);
// A machine without a locale would give scripts the language "en-US@posix", which Intl refuses.
writeFileSync(
  join(partial, "chromium"),
  `#!/usr/bin/env bash
here="$(cd "$(dirname "\${BASH_SOURCE[0]}")" && pwd)"
export LD_LIBRARY_PATH="$here/lib\${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}" FONTCONFIG_PATH="$here" XDG_CACHE_HOME="$here/cache"
export LC_ALL=en_US.UTF-8
exec "$here/chromium.bin" "$@"
`,
  { mode: 0o755 },
);

// Last, in one step: a half-unpacked browser is never found under its name.
rmSync(target, { recursive: true, force: true });
renameSync(partial, target);
