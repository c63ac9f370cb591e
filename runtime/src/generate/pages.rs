//! What is kept of earlier tokens, in pages of [`PAGE`] tokens that sequences may share.

use align_compiler::stage::generate::PAGE;
use align_compiler::stage::items::ItemValue;

/// Which pages are in use.
pub struct Pages {
    count: usize,
    /// Pages from here on were never used.
    fresh: usize,
    free: Vec<u32>,
    /// How many sequences hold each page.
    holders: Vec<u32>,
}

impl Pages {
    /// So many, all of them free.
    pub fn new(count: usize) -> Pages {
        Pages { count, fresh: 0, free: vec![], holders: vec![] }
    }

    pub fn available(&self) -> usize {
        self.free.len() + self.count - self.fresh
    }

    /// A page that nobody else holds.
    pub fn take(&mut self) -> Option<u32> {
        if let Some(page) = self.free.pop() {
            self.holders[page as usize] = 1;
            return Some(page);
        }
        (self.fresh < self.count).then(|| {
            self.fresh += 1;
            self.holders.push(1);
            self.fresh as u32 - 1
        })
    }

    pub fn share(&mut self, page: u32) {
        self.holders[page as usize] += 1;
    }

    pub fn release(&mut self, page: u32) {
        let holders = &mut self.holders[page as usize];
        *holders -= 1;
        if *holders == 0 {
            self.free.push(page);
        }
    }
}

/// The tokens of a sequence that are kept.
#[derive(Clone, Debug, Default)]
pub struct Kept {
    /// Oldest first; all but the last are full.
    pages: Vec<u32>,
    /// Tokens before the first page: nothing reads them any more.
    gone: usize,
    /// Tokens so far, those that are gone included.
    pub filled: usize,
    /// What goes on from them beside what lies in pages; empty before the first token.
    pub states: Vec<ItemValue>,
}

impl Kept {
    /// Pages that more tokens need beside those that are there.
    pub fn wanted(&self, more: usize) -> usize {
        (self.filled + more - self.gone).div_ceil(PAGE).saturating_sub(self.pages.len())
    }

    /// Takes pages for more tokens; false, and none, where there are not enough.
    pub fn reserve(&mut self, more: usize, from: &mut Pages) -> bool {
        let wanted = self.wanted(more);
        if wanted > from.available() {
            return false;
        }
        self.pages.extend((0..wanted).filter_map(|_| from.take()));
        true
    }

    /// The row of a token, which is not gone and has a page.
    pub fn row(&self, token: usize) -> usize {
        let place = token - self.gone;
        self.pages[place / PAGE] as usize * PAGE + place % PAGE
    }

    /// The rows of all tokens that are kept.
    pub fn rows(&self) -> impl Iterator<Item = usize> + '_ {
        (self.gone..self.filled).map(|token| self.row(token))
    }

    /// Gives back pages of which no token is nearer to the next one than the window reaches.
    pub fn evict(&mut self, window: Option<usize>, to: &mut Pages) {
        let Some(window) = window else { return };
        while self.gone + PAGE + window <= self.filled + 1 && !self.pages.is_empty() {
            to.release(self.pages.remove(0));
            self.gone += PAGE;
        }
    }

    pub fn release(&mut self, to: &mut Pages) {
        self.pages.drain(..).for_each(|page| to.release(page));
        (self.gone, self.filled) = (0, 0);
        self.states.clear();
    }

    /// The same tokens for another sequence: full pages are shared, of the last one a copy is needed, whose page and the one
    /// that it is of are given. `None` where there is no page for it.
    pub fn fork(&self, from: &mut Pages) -> Option<(Kept, Option<(u32, u32)>)> {
        let full = (self.filled - self.gone) / PAGE;
        let mut pages = self.pages[..full].to_vec();
        let mut copied = None;
        if let Some(last) = self.pages.get(full).filter(|_| !(self.filled - self.gone).is_multiple_of(PAGE)) {
            let own = from.take()?;
            pages.push(own);
            copied = Some((*last, own));
        }
        pages[..full].iter().for_each(|page| from.share(*page));
        Some((Kept { pages, gone: self.gone, filled: self.filled, states: self.states.clone() }, copied))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_share_full_pages() {
        let mut pages = Pages::new(5);
        let mut first = Kept::default();
        assert!(first.reserve(PAGE + 3, &mut pages));
        first.filled = PAGE + 3;
        assert_eq!((pages.available(), first.row(PAGE + 2)), (3, PAGE + 2));
        let (mut second, copied) = first.fork(&mut pages).unwrap();
        assert_eq!((copied, pages.available()), (Some((1, 2)), 2));
        assert_eq!((second.row(5), second.row(PAGE)), (5, 2 * PAGE));
        first.release(&mut pages);
        assert_eq!(pages.available(), 3, "the first page is held still");
        assert!(!second.reserve(4 * PAGE, &mut pages) && second.wanted(PAGE) == 1);
        assert!(second.reserve(PAGE, &mut pages));
        assert_eq!(second.rows().count(), PAGE + 3);
        second.release(&mut pages);
        assert_eq!(pages.available(), 5);
    }

    #[test]
    fn what_no_window_reaches_goes() {
        let mut pages = Pages::new(10);
        let mut kept = Kept::default();
        let mut held = vec![];
        for _ in 0..4 * PAGE {
            assert!(kept.reserve(1, &mut pages));
            kept.filled += 1;
            kept.evict(Some(PAGE), &mut pages);
            held.push(kept.rows().count());
        }
        // The next token sees one window less its own place.
        assert!(held.iter().enumerate().all(|(i, n)| *n >= (i + 1).min(PAGE - 1) && *n < 2 * PAGE), "{held:?}");
        assert_eq!(kept.row(4 * PAGE - 1), kept.rows().last().unwrap());
    }
}
