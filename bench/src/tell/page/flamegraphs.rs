//! Flame graphs that lie beside a record, each in a frame of its own, where it can be clicked and
//! its script meets no other.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use maud::{Markup, html};

use crate::record::archive::ArchivedRecord;

/// The name of a record that pictures may lie beside.
pub(crate) const PROFILED: &str = "record.json";

/// The height where a picture does not say its own.
const HEIGHT: u32 = 600;

/// The pictures of the runs of one file, if `bench profile` has written it: those beside it, the
/// whole first.
pub(super) fn of(file: &[ArchivedRecord]) -> Markup {
    let profiled = file.first().map(|run| &run.path);
    let profiled = profiled.filter(|path| path.file_name().is_some_and(|name| name == PROFILED));
    let pictures = profiled.map_or_else(Vec::new, |path| pictures(path));
    html! {
        @if !pictures.is_empty() {
            h3 { "Flame graphs" }
            @if file.len() > 1 {
                p.note { "Of all " (file.len()) " runs of the file together." }
            }
            p.note { "Wider is more CPU time. A click enlarges a frame, its root makes it small again." }
            @for (number, (name, svg)) in pictures.iter().enumerate() {
                details open[number == 0] {
                    summary { (name) }
                    iframe title=(name) height=(height(svg) + 20) loading="lazy"
                        src=(format!("data:image/svg+xml;base64,{}", STANDARD.encode(svg))) {}
                }
            }
        }
    }
}

fn pictures(record: &Path) -> Vec<(String, String)> {
    let folder = match record.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let files = std::fs::read_dir(folder).into_iter().flatten();
    let files = files.filter_map(|file| Some(file.ok()?.path()));
    let mut paths: Vec<PathBuf> = files.filter(|path| stem(path).is_some()).collect();
    paths.sort_by_key(|path| (stem(path).as_deref() != Some("all"), path.clone()));
    let read = |path: PathBuf| Some((stem(&path)?, std::fs::read_to_string(&path).ok()?));
    paths.into_iter().filter_map(read).collect()
}

/// The subject of a flame graph, from the name of its file.
fn stem(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    let stem = name.strip_prefix("flamegraph-")?.strip_suffix(".svg")?;
    Some(stem.to_owned())
}

fn height(svg: &str) -> u32 {
    let found = svg.split_once("height=\"").map(|(_, rest)| rest);
    let digits = found.and_then(|rest| rest.split(['"', '.']).next());
    let height = digits.and_then(|digits| digits.parse().ok());
    height.unwrap_or(HEIGHT).min(4 * HEIGHT)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::record::archive::tests::recorded;

    #[test]
    fn pictures_beside_a_record_are_embedded_the_whole_first() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["flamegraph-accept.svg", "flamegraph-all.svg", "other.svg"] {
            let svg = format!("<svg height=\"123\"><title>{name}</title></svg>");
            std::fs::write(dir.path().join(name), svg).unwrap();
        }
        let at = |path: &Path| {
            let mut run = recorded(serde_json::json!({}));
            run.path = path.to_path_buf();
            of(&[run]).into_string()
        };
        let text = at(&dir.path().join(PROFILED));
        assert_eq!(text.matches("<iframe").count(), 2);
        assert!(text.find(">all<").unwrap() < text.find(">accept<").unwrap());
        assert!(text.contains("height=\"143\""), "{text}");
        let encoded =
            STANDARD.encode("<svg height=\"123\"><title>flamegraph-all.svg</title></svg>");
        assert!(text.contains(&encoded));
        // A record of another run that lies there too.
        assert_eq!(at(&dir.path().join("other.json")), "");
        assert_eq!(at(Path::new("/no/such/folder/record.json")), "");
    }
}
