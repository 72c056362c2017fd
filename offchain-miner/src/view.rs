//! The live view of a running miner on a terminal: draws what `gauges` knows, twice a second.
//!
//! It owns the terminal and nothing else. Ctrl-C and `q` reach the program as the signal that a shell
//! would have sent, so that it stops in the same order as without a view.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use ratatui::crossterm::event::{self, Event, KeyCode, KeyModifiers};
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::symbols::Marker;
use ratatui::text::{Line, Span};
use ratatui::widgets::{
    Axis, Block, Chart, Dataset, Gauge as Bar, GraphType, Paragraph, Row, Sparkline, Table, Wrap,
};
use ratatui::Frame;
use serde_json::Value;

use crate::gauges::Gauges;

/// Between two pictures; also the longest wait for a key.
const FRAME: Duration = Duration::from_millis(500);
/// Throughput points kept: one a second for as many columns as a wide terminal has.
const COLUMNS: usize = 200;
/// Pictures between two throughput points.
const FRAMES_PER_POINT: u32 = 2;
/// Smallest units of one token.
const UNIT: f64 = 1e9;

/// What one picture needs beside the newest status.
#[derive(Debug, Default)]
struct View {
    status: Value,
    /// Backward passes per second, oldest first, in thousandths.
    rate: VecDeque<u64>,
    passes: u64,
    frames: u32,
}

/// Draws until the program ends. Blocks its thread.
///
/// # Errors
/// When the terminal cannot be drawn on.
pub fn show(gauges: &Gauges) -> io::Result<()> {
    let mut terminal = ratatui::try_init()?;
    let mut view = View::default();
    let result = loop {
        view.update(gauges.status());
        if let Err(error) = terminal.draw(|frame| view.draw(frame)) {
            break Err(error);
        }
        match wants_to_stop() {
            Ok(false) => {}
            Ok(true) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    ratatui::restore();
    interrupt();
    result
}

/// Waits for a key for the length of a frame; whether it asks to stop.
fn wants_to_stop() -> io::Result<bool> {
    if !event::poll(FRAME)? {
        return Ok(false);
    }
    let Event::Key(key) = event::read()? else { return Ok(false) };
    let control_c = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
    Ok(control_c || key.code == KeyCode::Char('q'))
}

/// What Ctrl-C does on a terminal that is not in raw mode.
fn interrupt() {
    #[expect(unsafe_code, reason = "the standard library sends no signals")]
    // SAFETY: a signal to ourselves; no memory is involved.
    unsafe {
        libc::raise(libc::SIGINT);
    }
}

impl View {
    fn update(&mut self, status: Value) {
        self.status = status;
        self.frames += 1;
        let passes = self.metric("iota_backward_passes_total") as u64;
        if !self.frames.is_multiple_of(FRAMES_PER_POINT) {
            return;
        }
        let seconds = FRAME.as_secs_f64() * f64::from(FRAMES_PER_POINT);
        let more = passes.saturating_sub(self.passes) as f64;
        self.passes = passes;
        self.rate.push_back((more / seconds * 1_000.0) as u64);
        if self.rate.len() > COLUMNS {
            self.rate.pop_front();
        }
    }

    fn fact(&self, name: &str) -> &Value {
        &self.status["facts"][name]
    }

    fn text(&self, name: &str) -> String {
        match self.fact(name) {
            Value::String(text) => text.clone(),
            Value::Null => "-".into(),
            other => other.to_string(),
        }
    }

    fn metric(&self, name: &str) -> f64 {
        self.status["metrics"][name].as_f64().unwrap_or_default()
    }

    /// Mean milliseconds of a pass of that kind; `None` where none ran.
    fn pass(&self, kind: &str) -> Option<f64> {
        let count = self.metric(&format!("iota_passes_timed_total{{pass=\"{kind}\"}}"));
        let micros = self.metric(&format!("iota_pass_microseconds_total{{pass=\"{kind}\"}}"));
        (count > 0.0).then_some(micros / count / 1_000.0)
    }

    /// How long passes take. The last stage runs both ways at once.
    fn passes(&self) -> [String; 2] {
        let shown = |pass: Option<f64>| pass.map_or("-".to_owned(), |millis| format!("{millis:.1} ms"));
        match self.pass("both") {
            Some(both) => [format!("forward, backward  {both:.1} ms at once"), String::new()],
            None => [
                format!("a forward pass     {}", shown(self.pass("forward"))),
                format!("a backward pass    {}", shown(self.pass("backward"))),
            ],
        }
    }

    /// Megabytes that both lanes of the network carried in a direction.
    fn megabytes(&self, direction: &str) -> f64 {
        let name = format!("iota_network_{direction}_bytes_total");
        let metrics = self.status["metrics"].as_object();
        let lanes = metrics.into_iter().flatten().filter(|(metric, _)| metric.starts_with(&name));
        lanes.filter_map(|(_, bytes)| bytes.as_f64()).fold(0.0, |sum, bytes| sum + bytes) / 1e6
    }

    /// Blocks as time on the clock: `75 s`, or minutes from three of them on.
    fn lasting(&self, blocks: f64) -> String {
        let seconds = blocks * self.fact("seconds_per_block").as_f64().unwrap_or(1.0);
        if seconds < 180.0 {
            format!("{seconds:.0} s")
        } else {
            format!("{:.0} min", seconds / 60.0)
        }
    }

    /// Mean milliseconds of a finished sample that went into that part.
    fn each(&self, part: &str) -> f64 {
        let total = self.metric(&format!("iota_sample_microseconds_total{{part=\"{part}\"}}"));
        total / self.metric("iota_backward_passes_total").max(1.0) / 1_000.0
    }

    fn draw(&self, frame: &mut Frame<'_>) {
        let rows = Layout::vertical([
            Constraint::Length(1),
            Constraint::Length(3),
            Constraint::Length(2),
            Constraint::Min(6),
            Constraint::Length(11),
        ]);
        let [head, epoch, doing, middle, earnings] = rows.areas(frame.area());
        frame.render_widget(self.head(), head);
        self.draw_epoch(frame, epoch);
        frame.render_widget(self.doing(), doing);
        let [left, right] = Layout::horizontal([Constraint::Min(30), Constraint::Length(38)]).areas(middle);
        self.draw_curve(frame, left);
        frame.render_widget(self.pipeline(), right);
        self.draw_earnings(frame, earnings);
    }

    fn head(&self) -> Line<'static> {
        let bold = Style::new().add_modifier(Modifier::BOLD);
        let stage = match self.fact("stage").as_u64() {
            Some(stage) => format!("stage {stage} (of {})", self.text("stages")),
            None => "no stage yet".into(),
        };
        // Said where it matters: whoever goes through a relay is sent fewer samples.
        let reach = self.fact("reach").as_str().filter(|reach| *reach != "reached directly");
        let reach = reach.map_or(String::new(), |reach| format!("{reach}   "));
        Line::from(vec![
            Span::styled("IOTA miner", bold),
            Span::raw(format!("  run {}  uid {}  {stage}   {reach}", self.text("run"), self.text("uid"))),
            Span::styled("q or Ctrl-C stops", Style::new().fg(Color::DarkGray)),
        ])
    }

    fn draw_epoch(&self, frame: &mut Frame<'_>, area: Rect) {
        let left = self.fact("epoch_blocks_left").as_f64().unwrap_or_default();
        let (epoch, block) = (self.metric("iota_epoch"), self.metric("iota_block"));
        let settling = if self.fact("settling") == &Value::Bool(true) { " (settling)" } else { "" };
        let title = format!(
            " epoch {epoch:.0} of {}{settling}: {}, {} blocks left, {}; block {block:.0} ",
            self.text("epochs"),
            self.text("phase"),
            self.text("phase_blocks_left"),
            self.lasting(self.fact("phase_blocks_left").as_f64().unwrap_or_default()),
        );
        let length = self.fact("epoch_length").as_f64().unwrap_or(left).max(left).max(1.0);
        let bar = Bar::default()
            .block(Block::bordered().title(title))
            .gauge_style(Style::new().fg(Color::Cyan))
            .ratio(((length - left) / length).clamp(0.0, 1.0))
            .label(format!("{left:.0} blocks, {}, until the epoch closes", self.lasting(left)));
        frame.render_widget(bar, area);
    }

    fn doing(&self) -> Paragraph<'static> {
        Paragraph::new(format!("now: {}", self.text("doing"))).wrap(Wrap { trim: true })
    }

    /// Loss where this stage sees it, throughput elsewhere.
    fn draw_curve(&self, frame: &mut Frame<'_>, area: Rect) {
        let losses: Vec<(f64, f64)> = self
            .fact("losses")
            .as_array()
            .map(|points| points.iter().filter_map(Value::as_f64).enumerate().collect::<Vec<_>>())
            .unwrap_or_default()
            .into_iter()
            .map(|(place, loss)| (place as f64, loss))
            .collect();
        if losses.len() < 2 {
            return self.draw_rate(frame, area);
        }
        let (low, high) = bounds(losses.iter().map(|(_, loss)| *loss));
        let line = Dataset::default()
            .marker(Marker::Braille)
            .graph_type(GraphType::Line)
            .style(Style::new().fg(Color::Yellow))
            .data(&losses);
        let last = losses.last().map_or(0.0, |(_, loss)| *loss);
        let chart = Chart::new(vec![line])
            .block(Block::bordered().title(format!(" loss {last:.3} nats per token ")))
            .x_axis(Axis::default().bounds([0.0, (losses.len() - 1) as f64]))
            .y_axis(Axis::default().bounds([low, high]).labels([format!("{low:.2}"), format!("{high:.2}")]));
        frame.render_widget(chart, area);
    }

    fn draw_rate(&self, frame: &mut Frame<'_>, area: Rect) {
        let width = usize::from(area.width.saturating_sub(2));
        let skip = self.rate.len().saturating_sub(width);
        let data: Vec<u64> = self.rate.iter().skip(skip).copied().collect();
        let now = data.last().copied().unwrap_or_default() as f64 / 1_000.0;
        let line = Sparkline::default()
            .block(
                Block::bordered()
                    .title(format!(" samples per second: {now:.1} (the last stage sees the loss) ")),
            )
            .style(Style::new().fg(Color::Green))
            .data(data);
        frame.render_widget(line, area);
    }

    fn pipeline(&self) -> Paragraph<'static> {
        let replicas: Vec<String> =
            self.fact("replicas").as_array().into_iter().flatten().map(Value::to_string).collect();
        let [one, other] = self.passes();
        let mut lines = vec![
            format!("samples in flight  {:.0}", self.metric("iota_samples_in_flight")),
            format!("forward passes     {:.0}", self.metric("iota_forward_passes_total")),
            format!("backward passes    {:.0}", self.metric("iota_backward_passes_total")),
            one,
            other,
            format!("local steps        {:.0}", self.metric("iota_local_steps_total")),
            format!("computes           {:.1} ms a sample", self.each("compute")),
            format!("waits for others   {:.1} ms a sample", self.each("away")),
            format!("next stage takes   {:.2} s", self.metric("iota_downstream_seconds")),
            format!("started elsewhere  {:.0}", self.metric("iota_reroutes_total")),
            format!("sent, received     {:.1}, {:.1} MB", self.megabytes("sent"), self.megabytes("received")),
            format!("miners by stage    {}", replicas.join(" / ")),
            format!("merge partners     {}", self.text("partners")),
        ];
        lines.retain(|line| !line.is_empty());
        let lines: Vec<Line<'_>> = lines.into_iter().map(Line::from).collect();
        Paragraph::new(lines).block(Block::bordered().title(" pipeline "))
    }

    fn history_row(&self, epoch: &Value) -> Row<'static> {
        let paid: f64 = epoch["paid"].as_str().and_then(|text| text.parse().ok()).unwrap_or_default();
        let scores: Vec<String> =
            epoch["scores"].as_array().into_iter().flatten().map(Value::to_string).collect();
        let took_part = epoch["samples"].is_u64();
        let scores = match (epoch["void"].as_bool(), scores.is_empty()) {
            (Some(true), _) => "void: too little stake revealed".into(),
            (_, true) => "no longer on chain".into(),
            _ if !took_part => "took no part".into(),
            _ => scores.join(", "),
        };
        let samples = epoch["samples"].as_u64().map_or("-".into(), |samples| samples.to_string());
        let number = epoch["epoch"].to_string();
        let clasp = judgement(&self.fact("clasp")[&number]);
        Row::new([number, samples, format!("{:.3}", paid / UNIT), clasp, scores])
    }

    fn draw_earnings(&self, frame: &mut Frame<'_>, area: Rect) {
        let owed: f64 = self.text("owed").parse().unwrap_or_default();
        let rows: Vec<Row<'_>> = self
            .fact("history")
            .as_array()
            .into_iter()
            .flatten()
            .map(|epoch| self.history_row(epoch))
            .collect();
        let title = format!(" earnings: {:.3} tokens to claim for {} ", owed / UNIT, self.text("coldkey"));
        let widths = [
            Constraint::Length(7),
            Constraint::Length(10),
            Constraint::Length(14),
            Constraint::Length(30),
            Constraint::Min(20),
        ];
        let header = Row::new([
            "epoch",
            "samples",
            "paid, tokens",
            "CLASP (off a sample's loss)",
            "score (most 65535)",
        ])
        .style(Style::new().add_modifier(Modifier::BOLD));
        frame.render_widget(
            Table::new(rows, widths).header(header).block(Block::bordered().title(title)),
            area,
        );
    }
}

/// CLASP's factor, and what the miner took off a sample's loss, by the first validator that answered; whether others
/// found another factor.
fn judgement(clasp: &Value) -> String {
    let lines = clasp.as_array().map(Vec::as_slice).unwrap_or_default();
    let factor = |line: &Value| line["factor_ppm"].as_f64().map(|ppm| ppm / 1e6);
    let Some((first, factor_of_first)) = lines.first().and_then(|line| Some((line, factor(line)?))) else {
        return "-".into();
    };
    let others = lines.iter().filter_map(factor).any(|other| other != factor_of_first);
    let more = if others { " *" } else { "" };
    let part = |name: &str| first["contribution"][name].as_f64();
    match (part("mean"), part("low"), part("high")) {
        // The others of the stage are measured against it, so that its own effect is nothing, without doubt.
        (Some(_), Some(low), Some(high)) if low == high => {
            format!("{factor_of_first:.2}{more} (the stage's median)")
        }
        (Some(mean), Some(low), Some(high)) => {
            format!("{factor_of_first:.2}{more} ({mean:+.3} ±{:.3} nats)", (high - low) / 2.0)
        }
        _ => format!("{factor_of_first:.2}{more}"),
    }
}

/// Lowest and highest value with a margin, never equal.
fn bounds(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (low, high) = values
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
    let margin = ((high - low) * 0.05).max(0.01);
    (low - margin, high + margin)
}
