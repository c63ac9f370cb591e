//! What is counted over rows. Of a row nothing is kept but two hashes and, of texts, how many have each length.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};

use align_compiler::stage::encode::Truncate;
use align_compiler::stage::items::ItemValue;
use align_compiler::stage::look::{Look, LookedText};
use align_compiler::stage::rows::Reading;

use super::is_blank;

/// Rows that have something in common: how many, and the first of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Places {
    pub count: usize,
    /// Rows from 0; with another one that the row is like, where there is one.
    pub first: Vec<(usize, Option<usize>)>,
}

impl Places {
    /// Rows that are told.
    const TOLD: usize = 5;

    fn add(&mut self, row: usize, like: Option<usize>) {
        self.count += 1;
        if self.first.len() < Places::TOLD {
            self.first.push((row, like));
        }
    }
}

/// How many texts have each length, in tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lengths(BTreeMap<usize, usize>);

impl Lengths {
    fn add(&mut self, length: usize) {
        *self.0.entry(length).or_default() += 1;
    }

    pub fn texts(&self) -> usize {
        self.0.values().sum()
    }

    /// The shortest length that at least this share of the texts does not exceed: 0.5 is the median. 0 without texts.
    pub fn quantile(&self, share: f64) -> usize {
        let wanted = ((share * self.texts() as f64).ceil() as usize).max(1);
        let mut texts = 0;
        let found = self.0.iter().find(|(_, count)| {
            texts += **count;
            texts >= wanted
        });
        found.map_or(0, |(length, _)| *length)
    }

    pub fn min(&self) -> usize {
        self.0.keys().next().copied().unwrap_or(0)
    }

    pub fn max(&self) -> usize {
        self.0.keys().next_back().copied().unwrap_or(0)
    }

    /// At most `most` bins of one round width up to the 95th percentile, and one for what is longer: the first and last length
    /// of each, and its texts.
    pub fn histogram(&self, most: usize) -> Vec<(usize, usize, usize)> {
        let (least, p95, max) = (self.min(), self.quantile(0.95), self.max());
        let widths = (0..).flat_map(|power| [1, 2, 5].map(|digit| digit * 10usize.pow(power)));
        let bin = |width: usize, length: usize| length / width;
        let fits = |width: &usize| bin(*width, p95) - bin(*width, least) < most;
        let width = widths.take(50).find(fits).unwrap_or(1);
        let (first, last) = (bin(width, least), bin(width, p95));
        let mut bins: Vec<_> = (first..=last).map(|i| (i * width, (i + 1) * width - 1, 0)).collect();
        let longer = (last + 1) * width;
        if max >= longer {
            bins.push((longer, max, 0));
        }
        for (length, count) in &self.0 {
            let at = (bin(width, *length) - first).min(bins.len() - 1);
            bins[at].2 += count;
        }
        bins
    }
}

/// The texts of a field over all rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Field {
    pub name: String,
    /// Whether the loss reads its tokens.
    pub carries: bool,
    pub lengths: Lengths,
    /// Tokens of its texts, and those of them that carry loss.
    pub tokens: usize,
    pub loss: usize,
}

/// What cutting rows to the context takes away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gone {
    /// Rows of which nothing is left.
    pub rows: usize,
    /// Rows that are left, but shorter.
    pub cut: usize,
    pub tokens: usize,
    /// Of these tokens, those that carry loss.
    pub loss: usize,
}

/// What is known of all rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Rows that were read.
    pub rows: usize,
    /// Rows that cannot be read, and what is wrong with the first of them.
    pub bad: usize,
    pub errors: Vec<String>,
    pub fields: Vec<Field>,
    /// Rows of which all that is read is like that of an earlier row.
    pub duplicates: Places,
    /// Rows with the prompts of an earlier row and other replies.
    pub same_prompt: Places,
    /// Rows with a reply that says nothing.
    pub empty: Places,
    /// Rows with two replies that are the same.
    pub alike: Places,
    /// Rows with loss, but none on the token that ends replies.
    pub unended: Places,
    /// Rows where the token that begins a sequence stands twice.
    pub doubled: Places,
    /// Rows with a text that is longer than the context.
    pub long: Places,
    /// What each way to cut these takes away.
    pub gone: Vec<(Truncate, Gone)>,
}

impl Statistics {
    pub fn tokens(&self) -> usize {
        self.fields.iter().map(|field| field.tokens).sum()
    }

    pub fn loss(&self) -> usize {
        self.fields.iter().map(|field| field.loss).sum()
    }
}

/// Counts rows as they come.
pub struct Counter<'r> {
    reading: Option<&'r Reading>,
    found: Statistics,
    /// The first row with this content, by the content's hash.
    rows: HashMap<u64, u32>,
    /// The first row with these prompts.
    prompts: HashMap<u64, u32>,
}

impl<'r> Counter<'r> {
    /// `reading`: how the rows' text becomes tokens, with the context. Where it says how rows are cut, only that is counted.
    pub fn new(reading: Option<&'r Reading>) -> Counter<'r> {
        let mut found = Statistics::default();
        if let Some(Reading { context: Some(_), truncate, .. }) = reading {
            let ways = Truncate::WORDS.iter().map(|(_, way)| *way);
            found.gone =
                ways.filter(|way| truncate.is_none_or(|said| said == *way)).map(|way| (way, Gone::default())).collect();
        }
        Counter { reading, found, rows: HashMap::new(), prompts: HashMap::new() }
    }

    /// A row that cannot be read.
    pub fn bad(&mut self, error: String) {
        self.found.bad += 1;
        if self.found.errors.len() < Places::TOLD {
            self.found.errors.push(error);
        }
    }

    pub fn add(&mut self, row: usize, look: &Look) {
        self.found.rows += 1;
        for text in &look.texts {
            let known = self.found.fields.iter().position(|field| field.name == text.field);
            let at = known.unwrap_or_else(|| {
                let new = Field { name: text.field.clone(), carries: text.carries, ..Field::default() };
                self.found.fields.push(new);
                self.found.fields.len() - 1
            });
            let field = &mut self.found.fields[at];
            field.lengths.add(text.encoded.stream.len());
            field.tokens += text.encoded.stream.len();
            field.loss += loss(text);
        }
        // Rows of which nothing is read are not alike.
        if !(look.texts.is_empty() && look.numbers.is_empty()) {
            self.repeats(row, look);
        }
        if let Some(reading) = self.reading {
            self.faults(row, look, reading);
            self.cut(row, look, reading);
        }
    }

    /// Rows that were there before, whole or with their prompts.
    fn repeats(&mut self, row: usize, look: &Look) {
        let (mut whole, mut prompts) = (DefaultHasher::new(), DefaultHasher::new());
        let mut prompted = false;
        for text in &look.texts {
            (&text.field, &text.encoded.stream).hash(&mut whole);
            if text.carries {
                text.encoded.places.hash(&mut whole);
                let before = text.encoded.places.first().map_or(text.encoded.stream.len(), |place| place + 1);
                let prompt = &text.encoded.stream[..before];
                (&text.field, prompt).hash(&mut prompts);
                // What begins every sequence is no prompt.
                prompted |= self.reading.is_some_and(|reading| *prompt != [reading.tokenizer.first()]);
            }
        }
        for (name, value) in &look.numbers {
            name.hash(&mut whole);
            match value {
                ItemValue::Floats(all) => all.iter().for_each(|x| x.to_bits().hash(&mut whole)),
                ItemValue::Ints(all) => all.hash(&mut whole),
                ItemValue::Bools(all) => all.hash(&mut whole),
            }
        }
        let (index, mut is_new) = (row as u32, false);
        let first = *self.rows.entry(whole.finish()).or_insert_with(|| {
            is_new = true;
            index
        });
        if !is_new {
            self.found.duplicates.add(row, Some(first as usize));
        }
        if prompted {
            let first = *self.prompts.entry(prompts.finish()).or_insert(index);
            if first != index && is_new {
                self.found.same_prompt.add(row, Some(first as usize));
            }
        }
    }

    /// What is probably not meant.
    fn faults(&mut self, row: usize, look: &Look, reading: &Reading) {
        let tokenizer = &*reading.tokenizer;
        let replies: Vec<&LookedText> = look.texts.iter().filter(|text| text.carries).collect();
        if replies.iter().any(|text| is_blank(tokenizer, &text.encoded)) {
            self.found.empty.add(row, None);
        }
        let twice = |(i, text): (usize, &&LookedText)| replies[..i].iter().any(|other| other.encoded == text.encoded);
        if replies.iter().enumerate().any(twice) {
            self.found.alike.add(row, None);
        }
        let ends = |text: &&LookedText| text.encoded.tokens.contains(&tokenizer.stop());
        if replies.iter().any(|text| !text.encoded.tokens.is_empty()) && !replies.iter().any(ends) {
            self.found.unended.add(row, None);
        }
        if look.texts.iter().any(|text| reading.reader().doubled_start(&text.encoded.stream)) {
            self.found.doubled.add(row, None);
        }
    }

    /// What is lost where a text is longer than the context.
    fn cut(&mut self, row: usize, look: &Look, reading: &Reading) {
        let Some(context) = reading.context else { return };
        if look.texts.iter().all(|text| text.encoded.stream.len() <= context) {
            return;
        }
        self.found.long.add(row, None);
        let all = |of: &dyn Fn(&LookedText) -> usize| look.texts.iter().map(of).sum::<usize>();
        let (tokens, carry) = (all(&|text| text.encoded.stream.len()), all(&loss));
        for (way, gone) in &mut self.found.gone {
            let left: Option<Vec<LookedText>> = (look.texts.iter())
                .map(|text| {
                    let encoded = text.encoded.clone().cut(context, *way, reading.tokenizer.bos())?;
                    Some(LookedText { encoded, ..text.clone() })
                })
                .collect();
            let (kept, kept_loss) = match &left {
                Some(left) => (left.iter().map(|text| text.encoded.stream.len()).sum(), left.iter().map(loss).sum()),
                None => (0, 0),
            };
            gone.rows += usize::from(left.is_none());
            gone.cut += usize::from(left.is_some());
            gone.tokens += tokens - kept;
            gone.loss += carry - kept_loss;
        }
    }

    pub fn finish(self) -> Statistics {
        self.found
    }
}

/// How many of a text's tokens carry loss.
fn loss(text: &LookedText) -> usize {
    if text.carries { text.encoded.tokens.len() } else { 0 }
}

#[cfg(test)]
mod tests;
