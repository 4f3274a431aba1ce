#!/usr/bin/env python3
"""Records a command on a terminal and draws it as a moving SVG.

    record.py OUTPUT.svg [--columns N] [--rows N] [--frames N] COMMAND [ARGUMENT...]

The command gets a real terminal; its screen is kept each time that it changes, and N of these, spread over
the time that it took, become the frames.  Needs the Python package pyte.  doc/pictures/realise.svg was made,
in an empty folder with an empty store, by

    record.py realise.svg -- mstore realise stage3-corei7
"""
import argparse
import fcntl
import os
import pty
import select
import struct
import sys
import termios
import time
from xml.sax.saxutils import escape

import pyte

COLOURS = {
    "default": "#d8dee9", "black": "#4c566a", "red": "#e06c75", "green": "#98c379", "brown": "#e5c07b",
    "blue": "#61afef", "magenta": "#c678dd", "cyan": "#56b6c2", "white": "#eceff4",
    "brightblack": "#7f8896", "brightred": "#ff7b85", "brightgreen": "#b5e890", "brightbrown": "#ffd98a",
    "brightblue": "#82cfff", "brightmagenta": "#e2a0f0", "brightcyan": "#7fd7e0", "brightwhite": "#ffffff",
}
WIDTH, HEIGHT, MARGIN = 8.4, 18, 12
# What a recording takes when it is looked at, and how long the last frame stays.
PLAYED, STAYS = 8.0, 4.0


def record(command, columns, rows):
    """The screens of a command: (seconds from its start, lines), one for each change."""
    screen = pyte.Screen(columns, rows)
    stream = pyte.ByteStream(screen)
    prompt = f"$ {' '.join(command)}\r\n"
    stream.feed(prompt.encode())
    child, terminal = pty.fork()
    if child == 0:
        os.environ["TERM"] = "xterm-256color"
        os.execvp(command[0], command)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    started, screens = time.monotonic(), []
    while True:
        if not select.select([terminal], [], [], 0.05)[0]:
            continue
        try:
            data = os.read(terminal, 65536)
        except OSError:
            break
        if not data:
            break
        stream.feed(data)
        lines = picture(screen)
        if not screens or screens[-1][1] != lines:
            screens.append((time.monotonic() - started, lines))
    _, status = os.waitpid(child, 0)
    if status:
        sys.exit(f"the command failed: {os.waitstatus_to_exitcode(status)}")
    return screens


def picture(screen):
    """The lines of a screen, each as runs of characters that look the same: (column, text, colour, bold)."""
    lines = []
    for row in range(screen.lines):
        runs = []
        for column in range(screen.columns):
            cell = screen.buffer[row][column]
            colour = COLOURS.get(cell.fg, "#" + cell.fg if len(cell.fg) == 6 else COLOURS["default"])
            if runs and runs[-1][2:] == (colour, cell.bold):
                runs[-1] = (runs[-1][0], runs[-1][1] + cell.data, *runs[-1][2:])
            else:
                runs.append((column, cell.data, colour, cell.bold))
        lines.append([run for run in runs if run[1].strip()])
    return lines


def chosen(screens, count):
    """At most `count` of the screens, spread over the time, with the last."""
    end = screens[-1][0]
    found = []
    for at in range(count - 1):
        moment = end * at / (count - 1)
        shown = [lines for when, lines in screens if when <= moment] or [screens[0][1]]
        if not found or found[-1] != shown[-1]:
            found.append(shown[-1])
    return found + [screens[-1][1]]


def draw(frames, columns, rows):
    width, height = columns * WIDTH + 2 * MARGIN, rows * HEIGHT + 2 * MARGIN
    step = PLAYED / max(1, len(frames) - 1)
    whole = step * (len(frames) - 1) + STAYS
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
           f'viewBox="0 0 {width:.0f} {height:.0f}" font-family="monospace" font-size="14">', "<style>",
           f".f {{ visibility: hidden; animation: {whole:.2f}s step-end infinite; }} text {{ white-space: pre; }}"]
    for at in range(len(frames)):
        begin, end = step * at / whole * 100, step * (at + 1) / whole * 100
        if at == len(frames) - 1:
            end = 100
        shown = f"{begin:.3f}% {{ visibility: visible; }} "
        shown += f"{end:.3f}% {{ visibility: hidden; }}" if end < 100 else ""
        hidden = "0% { visibility: hidden; } " if at else ""
        out.append(f"@keyframes k{at} {{ {hidden}{shown} }} .k{at} {{ animation-name: k{at}; }}")
    out += ["</style>", f'<rect width="100%" height="100%" rx="8" fill="#22272e"/>']
    for at, lines in enumerate(frames):
        # Where nothing moves, the last frame is what is seen.
        style = ' style="visibility: visible"' if at == len(frames) - 1 and len(frames) == 1 else ""
        out.append(f'<g class="f k{at}"{style}>')
        for row, runs in enumerate(lines):
            for column, text, colour, bold in runs:
                # Readers of SVG leave out blanks at either end.
                column += len(text) - len(text.lstrip())
                text = text.strip()
                x, y = MARGIN + column * WIDTH, MARGIN + row * HEIGHT + 14
                weight = ' font-weight="bold"' if bold else ""
                length = f' textLength="{len(text) * WIDTH:.1f}"' if len(text) > 1 else ""
                out.append(f'<text x="{x:.1f}" y="{y}" fill="{colour}"{weight}{length}>{escape(text)}</text>')
        out.append("</g>")
    return "\n".join(out + ["</svg>", ""])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output")
    parser.add_argument("--columns", type=int, default=100)
    parser.add_argument("--rows", type=int, default=16)
    parser.add_argument("--frames", type=int, default=12)
    parser.add_argument("command", nargs="+")
    args = parser.parse_args()
    screens = record(args.command, args.columns, args.rows)
    frames = chosen(screens, args.frames)
    with open(args.output, "w", encoding="utf-8") as output:
        output.write(draw(frames, args.columns, args.rows))
    print(f"{args.output}: {len(frames)} frames of {len(screens)} screens, {screens[-1][0]:.1f} s")


if __name__ == "__main__":
    main()
