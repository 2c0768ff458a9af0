// The latency waterfall: each stage a bar that begins where the one before it ended; the tail reaches from p50 to p95.

export interface StageLatency {
  name: string;
  p50_ms: number;
  p95_ms: number;
}

const ms = (value: number) => (value < 9.95 ? value.toFixed(1) : value.toFixed(0));

export function drawWaterfall(table: HTMLTableElement, stages: StageLatency[]): void {
  const body = table.tBodies[0]!;
  while (body.rows.length > stages.length) body.deleteRow(-1);
  while (body.rows.length < stages.length) {
    const row = body.insertRow();
    const head = document.createElement("th");
    head.scope = "row";
    row.append(head);
    row.insertCell().innerHTML = '<div class="track" aria-hidden="true"><i class="tail"></i><i></i></div>';
    row.insertCell();
    row.insertCell();
  }
  const span = stages.reduce((sum, stage) => sum + stage.p50_ms, 0) + Math.max(0, ...stages.map((s) => s.p95_ms - s.p50_ms));
  let start = 0;
  stages.forEach((stage, i) => {
    const row = body.rows[i]!;
    row.cells[0]!.textContent = stage.name;
    const [tail, bar] = row.querySelectorAll<HTMLElement>("i");
    const percent = (value: number) => `${(100 * value) / (span || 1)}%`;
    for (const [element, width] of [
      [tail!, stage.p95_ms],
      [bar!, stage.p50_ms],
    ] as const) {
      element.style.left = percent(start);
      element.style.width = `min(${percent(width)}, ${percent(span - start)})`;
    }
    row.cells[2]!.textContent = ms(stage.p50_ms);
    row.cells[3]!.textContent = ms(stage.p95_ms);
    start += stage.p50_ms;
  });
}
