"""Writes width_table.h from the Unicode data of the running Python.

    python3 modules/term/width_table.py > modules/term/width_table.h
"""
import unicodedata

HANGUL_VOWELS_AND_FINALS = range(0x1160, 0x1200)  # they join the syllable before them
SOFT_HYPHEN = 0xAD


def is_zero(code):
    kind = unicodedata.category(chr(code))
    return (kind in ("Mn", "Me", "Cf") and code != SOFT_HYPHEN) or code in HANGUL_VOWELS_AND_FINALS


def is_wide(code):
    return unicodedata.east_asian_width(chr(code)) in "WF" and not is_zero(code)


def is_unassigned(code):
    return unicodedata.category(chr(code)) == "Cn"


def ranges(belongs):
    """[(first, last)]; a gap of unassigned code points does not end a range."""
    found = []
    gap = True
    for code in range(0x110000):
        if belongs(code):
            if gap or not found:
                found.append([code, code])
            found[-1][1] = code
            gap = False
        elif not is_unassigned(code):
            gap = True
    return found


def write(name, comment, entries):
    print(f"\n// {comment}\nstatic const struct range {name}[] = {{")
    line = "   "
    for first, last in entries:
        item = f" {{0x{first:X}, 0x{last:X}}},"
        if len(line) + len(item) > 100:
            print(line)
            line = "   "
        line += item
    print(line + "\n};")


print(f"// Made by width_table.py from Unicode {unicodedata.unidata_version}; do not edit.")
write("zero_width", "Combining marks and format characters.", ranges(is_zero))
write("double_width", "East Asian wide and full-width characters, emoji among them.", ranges(is_wide))
