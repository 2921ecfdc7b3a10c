#!/bin/sh
# Opens a page of `bench report` in a headless browser, as wide as a desktop and as a phone.
#
#   page-check.sh REPORT.html
#
# Fails if the console has a message, if a picture has no size, or if the page is
# wider than the window. Needs chromium.
set -eu

fail() {
    echo "page-check: $1" >&2
    exit 1
}

[ $# -eq 1 ] || { sed -n '4s/^#   /usage: /p' "$0" >&2; exit 2; }
[ -f "$1" ] || fail "$1 does not exist; give a page that \`bench report\` has written"
browser=$(command -v chromium || command -v chromium-browser || command -v google-chrome) ||
    fail "no browser was found; install the package chromium"
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
trap 'exit 130' INT TERM

# A script in the copy of the page reports the sizes of the page and its pictures.
cp "$1" "$place/page.html"
cat >>"$place/page.html" <<'SCRIPT'
<script>
window.addEventListener('load', () => {
  document.querySelectorAll('details').forEach(part => { part.open = true; });
  const sized = picture => picture.getBoundingClientRect().width > 0 && picture.getBoundingClientRect().height > 0;
  const pictures = [...document.querySelectorAll('figure svg, .bar, iframe')];
  const top = window.parent.document.documentElement;
  const page = document.documentElement;
  top.dataset.checked = `pictures=${pictures.length} drawn=${pictures.filter(sized).length} ` +
    `width=${page.scrollWidth} window=${window.innerWidth}`;
});
</script>
SCRIPT

# A window cannot be as narrow as a phone, a frame can.
for width in 1280 360; do
    echo "<iframe src=page.html width=$width height=900 style='border:0'></iframe>" >"$place/frame.html"
    "$browser" --headless --no-sandbox --disable-gpu --enable-logging=stderr --v=0 \
        --allow-file-access-from-files --window-size=1400,1000 --virtual-time-budget=10000 --dump-dom \
        "file://$place/frame.html" >"$place/dom" 2>"$place/log" || fail "the browser failed: $(tail -1 "$place/log")"
    if grep 'CONSOLE' "$place/log" >&2; then
        fail "the console is not empty at $width pixels"
    fi
    checked=$(sed -n 's/.*data-checked="\([^"]*\)".*/\1/p' "$place/dom" | head -1)
    [ -n "$checked" ] || fail "the page was not loaded at $width pixels"
    # shellcheck disable=SC2086
    eval $checked
    # shellcheck disable=SC2154
    [ "$pictures" -gt 0 ] && [ "$pictures" -eq "$drawn" ] || fail "$drawn of $pictures pictures are drawn at $width pixels"
    # `window` and `width` are the page's now.
    [ "$width" -le "$window" ] || fail "the page is $width pixels wide in a window of $window"
    echo "$window pixels: $drawn pictures, nothing on the console, no wider than the window"
done
