//! Which rows share a prefix, which a trainer may compute once.

/// For each row, an earlier row that shares the longest beginning with it, and that length; the
/// row itself and 0 where no earlier row begins with the same id.
///
/// Sorted by their ids, the rows that share most with a row are next to it: the search looks left and right for
/// the nearest earlier row, and the length shared is the least of those between neighbours on the way.
pub(crate) fn shared_prefixes(rows: &[&[u32]]) -> Vec<[usize; 2]> {
    let mut order: Vec<usize> = (0..rows.len()).collect();
    order.sort_by(|a, b| {
        let same = common(rows[*a], rows[*b]);
        rows[*a][same..]
            .first()
            .cmp(&rows[*b][same..].first())
            .then(a.cmp(b))
    });
    let shared: Vec<usize> = order
        .windows(2)
        .map(|pair| common(rows[pair[0]], rows[pair[1]]))
        .collect();
    let mut best: Vec<[usize; 2]> = (0..rows.len()).map(|row| [row, 0]).collect();
    nearest_earlier(&order, &shared, &mut best);
    order.reverse();
    let reversed: Vec<usize> = shared.into_iter().rev().collect();
    nearest_earlier(&order, &reversed, &mut best);
    best
}

/// One direction. The stack holds rows with ascending numbers, each with what it shares with the row above it, the
/// topmost with the place reached.
fn nearest_earlier(order: &[usize], shared: &[usize], best: &mut [[usize; 2]]) {
    let mut stack: Vec<(usize, usize)> = Vec::new();
    for (at, row) in order.iter().enumerate() {
        if let Some((_, length)) = stack.last_mut() {
            *length = (*length).min(shared[at - 1]);
        }
        while let Some((_, length)) = stack.pop_if(|(other, _)| *other > *row) {
            if let Some((_, below)) = stack.last_mut() {
                *below = (*below).min(length);
            }
        }
        if let Some((other, length)) = stack.last()
            && *length > best[*row][1]
        {
            best[*row] = [*other, *length];
        }
        stack.push((*row, usize::MAX));
    }
}

/// How many ids two rows share from the start; blocks first, since equality of a block is one comparison of memory.
fn common(a: &[u32], b: &[u32]) -> usize {
    const BLOCK: usize = 64;
    let blocks = a.chunks_exact(BLOCK).zip(b.chunks_exact(BLOCK));
    let same = BLOCK * blocks.take_while(|(a, b)| a == b).count();
    let rest = a[same..].iter().zip(&b[same..]);
    same + rest.take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_beginning_shared_with_an_earlier_row_is_found() {
        // A small alphabet, so that beginnings agree by chance at every length.
        let mut state = 7_u32;
        let mut next = move |below: u32| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 16) % below
        };
        for _ in 0..300 {
            let rows: Vec<Vec<u32>> = (0..next(12))
                .map(|_| {
                    // Now and then rows longer than a block, that seldom differ.
                    let (length, every) = if next(9) == 0 { (150, 40) } else { (6, 1) };
                    (0..next(length))
                        .map(|i| if i % every == 0 { next(2) } else { 0 })
                        .collect()
                })
                .collect();
            let rows: Vec<&[u32]> = rows.iter().map(Vec::as_slice).collect();
            for (i, [other, length]) in shared_prefixes(&rows).into_iter().enumerate() {
                let most = rows[..i]
                    .iter()
                    .map(|row| common(row, rows[i]))
                    .max()
                    .unwrap_or(0);
                assert_eq!(length, most, "{rows:?} {i}");
                if most == 0 {
                    assert_eq!(other, i);
                } else {
                    assert!(other < i);
                    assert_eq!(common(rows[other], rows[i]), most);
                }
            }
        }
    }
}
