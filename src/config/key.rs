//! What a key is: its one description, from which it is read, checked and documented.

use std::ops::RangeInclusive;
use std::path::PathBuf;

use super::reader::Section;

/// A key as the documents show it.
pub struct Key {
    /// The section that it stands in; empty at the top level.
    pub section: &'static str,
    /// Its name there.
    pub name: &'static str,
    /// What it is for, in sentences.
    pub text: &'static str,
    /// Its default, as TOML.
    pub default: String,
    /// The values that it may have.
    pub range: String,
}

/// The type of a key's values.
pub(super) trait Value: Sized {
    /// What bounds the values.
    type Bounds;

    /// Takes the key out of its section.
    fn read(section: &mut Section<'_, '_>, name: &str, default: Self, bounds: Self::Bounds) -> Self;

    /// The value as TOML.
    fn toml(&self) -> String;

    /// The bounds in words.
    fn range(bounds: &Self::Bounds) -> String;
}

macro_rules! whole_numbers {
    ($($type:ty),+) => {
        $(impl Value for $type {
            type Bounds = RangeInclusive<u64>;

            fn read(section: &mut Section<'_, '_>, name: &str, default: $type, bounds: RangeInclusive<u64>) -> $type {
                let most = <$type>::MAX;
                <$type>::try_from(section.number(name, default as u64, bounds)).unwrap_or(most)
            }

            fn toml(&self) -> String {
                let digits = self.to_string();
                let groups = digits.as_bytes().rchunks(3).rev();
                groups.map(String::from_utf8_lossy).collect::<Vec<_>>().join("_")
            }

            fn range(bounds: &RangeInclusive<u64>) -> String {
                format!("{} to {}", bounds.start(), bounds.end())
            }
        })+
    };
}

whole_numbers!(u32, u64, usize);

impl Value for bool {
    type Bounds = ();

    fn read(section: &mut Section<'_, '_>, name: &str, default: bool, (): ()) -> bool {
        section.flag(name, default)
    }

    fn toml(&self) -> String {
        self.to_string()
    }

    fn range((): &()) -> String {
        "true, false".to_owned()
    }
}

impl Value for PathBuf {
    type Bounds = ();

    fn read(section: &mut Section<'_, '_>, name: &str, default: PathBuf, (): ()) -> PathBuf {
        let parse = |text: &str| if text.is_empty() { Err("a path".to_owned()) } else { Ok(text.into()) };
        section.text(name, default, parse)
    }

    fn toml(&self) -> String {
        format!("{:?}", self.display().to_string())
    }

    fn range((): &()) -> String {
        "a path".to_owned()
    }
}

/// What a text must be.
pub(super) struct Form {
    /// In few words.
    pub words: &'static str,
    /// What is expected instead of such a text, if it is none.
    pub refusal: fn(&str) -> Option<String>,
}

impl Value for String {
    type Bounds = Form;

    fn read(section: &mut Section<'_, '_>, name: &str, default: String, form: Form) -> String {
        section.text(name, default, |text| (form.refusal)(text).map_or_else(|| Ok(text.to_owned()), Err))
    }

    fn toml(&self) -> String {
        format!("{self:?}")
    }

    fn range(form: &Form) -> String {
        form.words.to_owned()
    }
}

/// A value that is one of a few words.
pub(super) trait Word: Copy + PartialEq + 'static {
    /// The words.
    const WORDS: &'static [(&'static str, Self)];
}

impl<T: Word> Value for T {
    type Bounds = ();

    fn read(section: &mut Section<'_, '_>, name: &str, default: T, (): ()) -> T {
        section.choice(name, default, T::WORDS)
    }

    fn toml(&self) -> String {
        let word = T::WORDS.iter().find(|(_, value)| value == self).map_or("", |(word, _)| word);
        format!("{word:?}")
    }

    fn range((): &()) -> String {
        T::WORDS.iter().map(|(word, _)| format!("{word:?}")).collect::<Vec<_>>().join(", ")
    }
}

/// Makes a struct of each section, how it is read, and the list of its keys.
macro_rules! sections {
    ($(
        $(#[doc = $about:literal])+
        $path:literal $Section:ident {
            $(
                $(#[doc = $doc:literal])+
                $name:ident: $type:ty = $default:expr $(, $bounds:expr)?;
            )+
        }
    )+) => {
        $(
            $(#[doc = $about])+
            #[derive(Clone, Debug, PartialEq, Eq)]
            pub struct $Section {
                $(
                    $(#[doc = $doc])+
                    pub $name: $type,
                )+
            }

            impl $Section {
                pub(super) fn read(section: &mut $crate::config::reader::Section<'_, '_>) -> $Section {
                    use $crate::config::key::Value;
                    $Section {
                        $($name: <$type as Value>::read(section, stringify!($name), $default, ($($bounds)?)),)+
                    }
                }

                fn keys() -> Vec<$crate::config::key::Key> {
                    use $crate::config::key::{Key, Value};
                    vec![$(Key {
                        section: $path,
                        name: stringify!($name),
                        text: concat!($($doc),+).trim_ascii(),
                        default: <$type as Value>::toml(&$default),
                        range: <$type as Value>::range(&($($bounds)?)),
                    }),+]
                }
            }
        )+

        /// The sections in the order of the documents: the path of each, what it is about, and its keys.
        pub fn sections() -> Vec<(&'static str, &'static str, Vec<$crate::config::key::Key>)> {
            vec![$(($path, concat!($($about),+).trim_ascii(), $Section::keys())),+]
        }
    };
}

pub(super) use sections;
