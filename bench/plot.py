"""A small line plot as SVG: a few series over a few points, readable in light and dark."""

import html

WIDTH, HEIGHT = 720, 420
LEFT, RIGHT, TOP, BOTTOM = 64, 210, 44, 48
COLOURS = ("#0b7285", "#d9480f", "#5f3dc4", "#2b8a3e", "#a61e4d", "#1864ab", "#e67700", "#5c940d", "#862e9c", "#495057")
STEPS = (1, 2, 2.5, 5, 10)


def nice_step(span, most):
    """The roundest step that divides the span into at most so many parts."""
    size = 1e-12
    while True:
        for step in STEPS:
            if span / (step * size) <= most:
                return step * size
        size *= 10


def ticks(low, high, most=6):
    step = nice_step(high - low, most)
    first = -(-low // step)
    return [round((first + i) * step, 10) for i in range(int((high - first * step) / step + 1e-9) + 1)]


def margin(values, zero):
    low, high = min(values), max(values)
    low = 0 if zero else low
    spare = (high - low) * 0.06 or abs(high) * 0.1 or 1
    return (low if zero else low - spare), high + spare


def svg(title, x_label, y_label, series):
    """series: [(name, [(x, y), ...], dashed)]. Returns the text of the picture."""
    series = [(name, sorted(points), dashed) for name, points, dashed in series if points]
    x_low, x_high = margin([x for _, points, _ in series for x, _ in points], False)
    y_low, y_high = margin([y for _, points, _ in series for _, y in points], True)

    def px(x):
        return LEFT + (x - x_low) / (x_high - x_low) * (WIDTH - LEFT - RIGHT)

    def py(y):
        return HEIGHT - BOTTOM - (y - y_low) / (y_high - y_low) * (HEIGHT - TOP - BOTTOM)

    def text(x, y, words, anchor="start", more=""):
        return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{more}>{html.escape(words)}</text>'

    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
             'font-family="sans-serif" font-size="12">',
             f"<title>{html.escape(title)}</title>",
             f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
             '<g fill="#343a40">', text(LEFT, 24, title, more=' font-size="15" font-weight="bold"'),
             text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 10, x_label, "middle"),
             text(16, (TOP + HEIGHT - BOTTOM) / 2, y_label, "middle", f' transform="rotate(-90 16 {(TOP + HEIGHT - BOTTOM) / 2:.1f})"')]  # fmt: skip
    for x in ticks(x_low, x_high):
        parts.append(f'<path d="M{px(x):.1f} {HEIGHT - BOTTOM}v5" stroke="#868e96"/>' + text(px(x), HEIGHT - BOTTOM + 18, f"{x:g}", "middle"))
    for y in ticks(y_low, y_high):
        parts.append(f'<path d="M{LEFT} {py(y):.1f}H{WIDTH - RIGHT}" stroke="#dee2e6"/>' + text(LEFT - 8, py(y) + 4, f"{y:g}", "end"))
    parts.append("</g>")
    for at, (name, points, dashed) in enumerate(series):
        colour = COLOURS[at % len(COLOURS)]
        dash = ' stroke-dasharray="5 4"' if dashed else ""
        line = "L".join(f"{px(x):.1f} {py(y):.1f}" for x, y in points)
        parts.append(f'<path d="M{line}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>')
        parts += [f'<circle cx="{px(x):.1f}" cy="{py(y):.1f}" r="3" fill="{colour}"/>' for x, y in points]
        legend = TOP + 8 + 20 * at
        parts.append(f'<path d="M{WIDTH - RIGHT + 14} {legend}h22" stroke="{colour}" stroke-width="2"{dash}/>')
        parts.append(text(WIDTH - RIGHT + 42, legend + 4, name, more=' fill="#343a40"'))
    return "\n".join([*parts, "</svg>"]) + "\n"
