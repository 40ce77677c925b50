"""Lines over a plane, as SVG text: enough for a benchmark's summary, and needs nothing."""

import html
import math

WIDTH, HEIGHT = 860, 420
LEFT, RIGHT, TOP, BOTTOM = 70, 150, 40, 50
COLOURS = ("#0b6e4f", "#c1292e", "#2e6fbb", "#e08e1b", "#7a4ea3", "#5c6b73", "#b5179e", "#3d8b8b")


def ticks(low, high, about=6):
    """Round numbers from low to high."""
    step = (high - low) / about or 1
    size = 10 ** math.floor(math.log10(step))
    step = next(size * m for m in (1, 2, 5, 10) if size * m >= step)
    first = math.ceil(low / step)
    return [i * step for i in range(first, int(high / step + 1e-9) + 1)]


class Frame:
    """From figures to places on the page."""

    def __init__(self, xs, ys):
        self.x0, self.x1 = min(xs), max(xs) or 1
        self.y0, self.y1 = min(0, min(ys)), max(ys) * 1.05 or 1
        self.x1 = self.x1 if self.x1 > self.x0 else self.x0 + 1

    def x(self, v):
        return LEFT + (v - self.x0) / (self.x1 - self.x0) * (WIDTH - LEFT - RIGHT)

    def y(self, v):
        return HEIGHT - BOTTOM - (v - self.y0) / (self.y1 - self.y0) * (HEIGHT - TOP - BOTTOM)


def text(x, y, words, anchor="middle", more=""):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{more}>{html.escape(str(words))}</text>'


def axes(frame, xlabel, ylabel):
    parts = []
    for v in ticks(frame.y0, frame.y1):
        y = frame.y(v)
        parts.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>' + text(LEFT - 8, y + 4, f"{v:g}", "end"))
    for v in ticks(frame.x0, frame.x1):
        x = frame.x(v)
        parts.append(f'<path d="M{x:.1f} {HEIGHT - BOTTOM}v5" stroke="#333"/>' + text(x, HEIGHT - BOTTOM + 20, f"{v:g}"))
    parts.append(f'<path d="M{LEFT} {TOP}V{HEIGHT - BOTTOM}H{WIDTH - RIGHT}" fill="none" stroke="#333"/>')
    parts.append(text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 10, xlabel))
    parts.append(text(18, HEIGHT / 2, ylabel, more=f' transform="rotate(-90 18 {HEIGHT / 2})"'))
    return parts


def lines(title, xlabel, ylabel, series, levels=None):
    """series: name -> [(x, y), ...]; levels: name -> y of a line across."""
    levels = levels or {}
    points = [p for line in series.values() for p in line] or [(0, 0), (1, 1)]
    frame = Frame([x for x, _ in points], [y for _, y in points] + list(levels.values()))
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" font-family="sans-serif" font-size="12">',
             '<rect width="100%" height="100%" fill="white"/>', text(WIDTH / 2, 22, title, more=' font-size="15"')]  # fmt: skip
    parts += axes(frame, xlabel, ylabel)
    for name, y in levels.items():
        at = frame.y(y)
        parts.append(f'<path d="M{LEFT} {at:.1f}H{WIDTH - RIGHT}" stroke="#333" stroke-dasharray="5 4"/>')
        parts.append(text(WIDTH - RIGHT + 6, at + 4, name, "start"))
    for i, (name, line) in enumerate(series.items()):
        colour = COLOURS[i % len(COLOURS)]
        places = " ".join(f"{frame.x(x):.1f},{frame.y(y):.1f}" for x, y in line)
        parts.append(f'<polyline points="{places}" fill="none" stroke="{colour}" stroke-width="1.6"/>')
        y = HEIGHT - BOTTOM - 16 * (len(series) - i)
        parts.append(f'<path d="M{WIDTH - RIGHT + 8} {y}h18" stroke="{colour}" stroke-width="3"/>')
        parts.append(text(WIDTH - RIGHT + 32, y + 4, name, "start"))
    return "\n".join([*parts, "</svg>"]) + "\n"
