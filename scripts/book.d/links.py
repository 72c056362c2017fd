"""Names every link of a rendered book that leads nowhere inside it; links to other hosts are not followed."""

import os
import sys
from html.parser import HTMLParser
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    """Targets that a page links to, and the anchors that it has."""

    def __init__(self):
        super().__init__()
        self.targets, self.anchors = [], set()

    def handle_starttag(self, tag, attrs):
        for name, value in attrs:
            if name in ("href", "src") and value:
                self.targets.append(value)
            if name in ("id", "name") and value:
                self.anchors.add(value)


def read(path):
    page = Page()
    with open(path, encoding="utf-8") as file:
        page.feed(file.read())
    return page


def main(root):
    # Links of the shared pages are relative to wherever they are shown.
    shared = ("404.html", "print.html", "toc.html")
    pages = {}
    for folder, _, files in os.walk(root):
        for name in files:
            if name.endswith(".html") and name not in shared:
                path = os.path.realpath(os.path.join(folder, name))
                pages[path] = read(path)
    broken = []
    for path, page in sorted(pages.items()):
        for target in page.targets:
            parts = urlsplit(target)
            if parts.scheme or parts.netloc:
                continue
            file = os.path.join(os.path.dirname(path), unquote(parts.path)) if parts.path else path
            file = os.path.realpath(file)
            missing = not os.path.exists(file)
            anchor = parts.fragment and file in pages and unquote(parts.fragment) not in pages[file].anchors
            if missing or anchor:
                broken.append(f"{os.path.relpath(path, root)}: {target}")
    for line in broken:
        print(f"leads nowhere: {line}", file=sys.stderr)
    print(f"{len(pages)} pages, {len(broken)} broken links")
    return 1 if broken or not pages else 0


if __name__ == "__main__":
    sys.exit(main(os.path.realpath(sys.argv[1])))
