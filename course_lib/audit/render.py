"""El informe, para leerlo: en texto y en una tabla que se ve en el tema claro y en el oscuro."""

import html

from course_lib.audit.findings import SEVERITIES, Example, Finding, Report
from course_lib.encoding import Kind
from course_lib.plots import tokens_html

BADGES = {"grave": "#F4B6A6", "aviso": "#F6DDA6", "nota": "#C4E5F7"}
PLURALS = {"grave": "graves", "aviso": "avisos", "nota": "notas"}
TEXT_TOKENS = 60  # los que se enseñan de un ejemplo en una terminal
HTML_TOKENS = 160


def as_text(report: Report) -> str:
    """El informe en texto corriente."""
    parts = [_summary(report)]
    for found in report.findings:
        lines = [f"[{found.severity.upper()}] {found.check}: {found.title}"]
        lines += [f"    {label}: {text}" for label, text in _paragraphs(found)]
        parts.append("\n".join(lines))
    if example := _example(report):
        tokens = []
        for token, _, counts, times in _runs(example):
            text = f"[{_visible(token)}]" if counts else _visible(token)
            tokens.append(f"{text}×{times}" if times > 1 else text)
        cut = len(tokens) - TEXT_TOKENS
        tail = f" … y {cut} más" if cut > 0 else ""
        parts.append(
            f"La fila {example.row}, token a token (entre corchetes, lo que cuenta en la pérdida):"
            f"\n    {' '.join(tokens[:TEXT_TOKENS])}{tail}"
        )
    if report.passed:
        parts.append("Bien: " + ", ".join(report.passed) + ".")
    if report.abstained:
        lines = [f"    {', '.join(c)} (falta: {lacks})" for lacks, c in _lacking(report).items()]
        parts.append("\n".join(["Sin comprobar:", *lines]))
    return "\n\n".join(parts)


def as_html(report: Report) -> str:
    """El informe como tabla, con un ejemplo coloreado token a token y lo no comprobado, plegado."""
    rows = "".join(_row(found) for found in report.findings)
    cell = "text-align:left;padding:6px 10px"
    table = (
        '<table style="border-collapse:collapse;margin:8px 0;max-width:70em"><thead><tr>'
        f'<th scope="col" style="{cell}">Gravedad</th><th scope="col" style="{cell}">Hallazgo</th>'
        f"</tr></thead><tbody>{rows}</tbody></table>"
        if rows
        else ""
    )
    example = _example(report)
    passed = (
        f'<p style="margin:6px 0">Bien: {html.escape(", ".join(report.passed))}.</p>'
        if report.passed
        else ""
    )
    missing = "".join(
        f"<li>{html.escape(', '.join(checks))} (falta: {html.escape(lacks)})</li>"
        for lacks, checks in _lacking(report).items()
    )
    if missing:
        missing = (
            f"<details><summary>Sin comprobar: {len(report.abstained)}</summary>"
            f"<ul>{missing}</ul></details>"
        )
    return (
        f'<div lang="es"><p><b>{html.escape(_summary(report))}</b></p>{table}'
        f"{example_html(example) if example else ''}{passed}{missing}</div>"
    )


def example_html(example: Example, limit: int = HTML_TOKENS) -> str:
    """Un ejemplo coloreado como en las lecciones."""
    tokens = tokens_html(example.tokens[:limit], example.kinds, example.counted)
    return f'<div style="margin-top:8px">La fila {example.row}, token a token:</div>{tokens}'


def _summary(report: Report) -> str:
    counts = []
    for severity in SEVERITIES:
        n = sum(found.severity == severity for found in report.findings)
        if n:
            counts.append(f"{n} {severity if n == 1 else PLURALS[severity]}")
    found = ", ".join(counts) or "nada que objetar"
    return (
        f"Auditoría: {found}. Comprobaciones sin hallazgos: {len(report.passed)}; "
        f"sin hacer, por falta de datos: {len(report.abstained)}."
    )


def _paragraphs(found: Finding) -> list[tuple[str, str]]:
    return [
        ("Qué se ve", found.evidence),
        ("Por qué duele", found.why),
        ("Cómo se arregla", found.mend),
        ("Dónde se explica", f"lección {found.lesson}"),
    ]


def _row(found: Finding) -> str:
    cell = "vertical-align:top;text-align:left;padding:6px 10px;border-top:1px solid #8888"
    badge = (
        f'<span style="background:{BADGES[found.severity]};color:#000;padding:2px 8px">'
        f"{found.severity}</span>"
    )
    body = "".join(
        f'<div style="margin-top:4px"><i>{label}:</i> {html.escape(text)}</div>'
        for label, text in _paragraphs(found)
    )
    title = f"<b>{html.escape(found.title)}</b> <code>{html.escape(found.check)}</code>"
    return f'<tr><td style="{cell}">{badge}</td><td style="{cell}">{title}{body}</td></tr>'


def _example(report: Report) -> Example | None:
    """El del hallazgo más grave que lo traiga; si no, la primera fila que se pudo leer."""
    own = [found.example for found in report.findings if found.example]
    return own[0] if own else report.example


def _runs(example: Example) -> list[tuple[str, int, bool, int]]:
    """Los tokens, con las rachas de relleno juntas: (texto, clase, si cuenta, cuántas veces)."""
    runs: list[tuple[str, int, bool, int]] = []
    for token in zip(example.tokens, example.kinds, example.counted, strict=True):
        if runs and token[1] == Kind.PADDING and runs[-1][:3] == token:
            runs[-1] = (*token, runs[-1][3] + 1)
        else:
            runs.append((*token, 1))
    return runs


def _lacking(report: Report) -> dict[str, list[str]]:
    """Las comprobaciones sin hacer, juntas las que se deben a lo mismo."""
    lacks: dict[str, list[str]] = {}
    for abstention in report.abstained:
        lacks.setdefault(abstention.lacks, []).append(abstention.check)
    return lacks


def _visible(token: str) -> str:
    return token.replace(" ", "·").replace("\n", "↵")
