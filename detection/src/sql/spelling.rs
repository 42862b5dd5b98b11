//! The nearest known name to a misspelt one.

/// The candidate nearest to `name`, if one is near enough to be what was meant.
///
/// Near means at most a third of the name's characters edited, and always one; the first of
/// equally near candidates wins.
pub(crate) fn nearest<'a>(
    name: &str,
    candidates: impl Iterator<Item = &'a str>,
) -> Option<&'a str> {
    let distance_max = (name.chars().count() / 3).max(1);
    let folded = name.to_lowercase();
    candidates
        .map(|candidate| (distance(&folded, &candidate.to_lowercase()), candidate))
        .filter(|(distance, _)| *distance <= distance_max)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Edits between two texts: insert, delete, replace, or swap two neighbours.
///
/// O(length²) time, O(length) memory; names are short.
///
/// # Source
/// Optimal string alignment: Damerau, "A technique for computer detection and correction of
/// spelling errors", 1964.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let cell = |row: &[usize], column: usize| row.get(column).copied().unwrap_or(usize::MAX / 2);
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=right.len()).collect();
    let mut left_previous = None;
    for (line, letter) in left.chars().enumerate() {
        let mut row = vec![line + 1];
        let mut right_previous = None;
        for (index, other) in right.iter().enumerate() {
            let replaced = cell(&above, index) + usize::from(letter != *other);
            let inserted_or_deleted = cell(&row, index).min(cell(&above, index + 1)) + 1;
            let mut best = replaced.min(inserted_or_deleted);
            if left_previous == Some(*other) && right_previous == Some(letter) && index > 0 {
                best = best.min(cell(&before, index - 1) + 1);
            }
            row.push(best);
            right_previous = Some(*other);
        }
        left_previous = Some(letter);
        before = std::mem::replace(&mut above, row);
    }
    cell(&above, right.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_swap_of_neighbours_is_one_edit() {
        assert_eq!(distance("pm52", "pm25"), 1);
        assert_eq!(distance("station", "statoin"), 1);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
    }

    #[test]
    fn a_name_in_the_wrong_case_is_the_nearest() {
        assert_eq!(nearest("PM25", ["pm10", "pm25"].into_iter()), Some("pm25"));
    }

    #[test]
    fn a_name_like_no_other_has_no_nearest() {
        assert_eq!(nearest("humidity", ["pm10", "pm25", "station"].into_iter()), None);
    }
}
