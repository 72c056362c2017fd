//! Line plots as SVG.

use plotters::prelude::*;

use crate::outcome::Plot;

/// A named line of points.
pub struct Line {
    /// Its name in the legend.
    pub name: String,
    /// Its points, by x.
    pub points: Vec<(f64, f64)>,
}

/// What the axes say.
pub struct Axes<'a> {
    /// File name without folder.
    pub file: &'a str,
    /// Title.
    pub title: &'a str,
    /// Under the x axis.
    pub x: &'a str,
    /// Beside the y axis.
    pub y: &'a str,
}

const SIZE: (u32, u32) = (760, 440);

/// Draws lines; both axes start at the smallest value (y at 0 at most).
///
/// # Errors
/// When the back end refuses a coordinate, such as NaN.
pub fn lines(axes: &Axes<'_>, lines: &[Line]) -> anyhow::Result<Plot> {
    let mut svg = String::new();
    draw(&mut svg, axes, lines).map_err(|error| anyhow::anyhow!("plot {}: {error}", axes.file))?;
    Ok(Plot { file: axes.file.to_owned(), title: axes.title.to_owned(), svg })
}

fn range(values: impl Iterator<Item = f64> + Clone, from: f64) -> std::ops::Range<f64> {
    let low = values.clone().fold(from, f64::min);
    let high = values.fold(f64::MIN, f64::max);
    low..if high > low { high + (high - low) * 0.03 } else { low + 1.0 }
}

fn draw(svg: &mut String, axes: &Axes<'_>, lines: &[Line]) -> Result<(), Box<dyn std::error::Error>> {
    let root = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let points = || lines.iter().flat_map(|line| &line.points);
    let first = points().map(|point| point.0).fold(f64::MAX, f64::min);
    let mut chart = ChartBuilder::on(&root)
        .caption(axes.title, ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(44)
        .y_label_area_size(60)
        .build_cartesian_2d(range(points().map(|p| p.0), first), range(points().map(|p| p.1), 0.0))?;
    chart.configure_mesh().x_desc(axes.x).y_desc(axes.y).light_line_style(WHITE).draw()?;
    for (index, line) in lines.iter().enumerate() {
        let colour = Palette99::pick(index).to_rgba();
        chart
            .draw_series(LineSeries::new(line.points.iter().copied(), colour.stroke_width(2)))?
            .label(&line.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::MiddleRight)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.2))
        .draw()?;
    root.present()?;
    Ok(())
}

/// Draws coloured cells `(column, row, colour)` of a square of `size`, mirrored.
///
/// # Errors
/// When the back end refuses a coordinate.
pub fn heat_map(
    file: &str,
    title: &str,
    size: usize,
    cells: &[(usize, usize, (u8, u8, u8))],
) -> anyhow::Result<Plot> {
    let mut svg = String::new();
    draw_cells(&mut svg, title, size, cells).map_err(|error| anyhow::anyhow!("plot {file}: {error}"))?;
    Ok(Plot { file: file.to_owned(), title: title.to_owned(), svg })
}

fn draw_cells(
    svg: &mut String,
    title: &str,
    size: usize,
    cells: &[(usize, usize, (u8, u8, u8))],
) -> Result<(), Box<dyn std::error::Error>> {
    let root = SVGBackend::with_string(svg, (560, 560)).into_drawing_area();
    root.fill(&WHITE)?;
    let end = i32::try_from(size)?;
    let mut chart = ChartBuilder::on(&root)
        .caption(title, ("sans-serif", 13))
        .margin(10)
        .x_label_area_size(24)
        .y_label_area_size(30)
        .build_cartesian_2d(0..end, 0..end)?;
    chart.configure_mesh().disable_mesh().draw()?;
    let mirrored = cells.iter().flat_map(|(a, b, colour)| [(*a, *b, *colour), (*b, *a, *colour)]);
    chart.draw_series(mirrored.map(|(x, y, (red, green, blue))| {
        let (x, y) = (x as i32, y as i32);
        Rectangle::new([(x, y), (x + 1, y + 1)], RGBColor(red, green, blue).filled())
    }))?;
    root.present()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plot_names_its_lines_and_axes() {
        let axes = Axes { file: "a.svg", title: "Title", x: "samples", y: "power" };
        let line = Line { name: "four replicas".into(), points: vec![(1.0, 0.0), (2.0, 1.0)] };
        let plot = lines(&axes, &[line]).unwrap();
        for text in ["<svg", "Title", "samples", "power", "four replicas"] {
            assert!(plot.svg.contains(text), "{text}");
        }
    }
}
