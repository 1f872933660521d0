use proptest::prelude::*;
use serde::de::DeserializeOwned;

use super::testing::{cents, change, text};
use super::*;

fn binary<T: DeserializeOwned>(value: impl Serialize) -> Option<T> {
    postcard::from_bytes(&postcard::to_stdvec(&value).unwrap()).ok()
}

fn json<T: DeserializeOwned>(text: &str) -> Option<T> {
    serde_json::from_str(text).ok()
}

#[test]
fn a_price_has_at_most_two_decimals() {
    for (text, amount) in [("65", 6500), ("65.5", 6550), ("65.50", 6550), ("0.07", 7), ("1.500", 150)] {
        assert_eq!(text.parse(), Ok(cents(amount)), "{text}");
        assert_eq!(json(text), Some(cents(amount)), "{text}");
    }
    for text in ["", ".", "1.", ".5", "1.505", "-1", "+1", "1e3", "1,5", "١", "100000000.01", "100000000000", "null"] {
        assert_eq!(text.parse::<Cents>(), Err(NotAPrice), "{text}");
        assert_eq!(json::<Cents>(text), None, "{text}");
    }
}

#[test]
fn a_price_is_exact_however_many_digits_it_is_written_with() {
    for text in ["65.5000000000000000001", "99999999.999999999999", "0.300000000000000000001", "1e2", "1e400"] {
        assert_eq!(json::<Cents>(text), None, "{text}");
    }
    assert_eq!(json("65.50000000000000000000"), Some(cents(6550)));
    assert_eq!(json("-0"), Some(cents(0)));
}

#[test]
fn a_price_is_shown_in_json_as_a_number_without_zeros_at_its_end() {
    for (amount, shown) in [(6500, "65"), (6550, "65.5"), (6507, "65.07"), (0, "0"), (7, "0.07"), (1000, "10")] {
        assert_eq!(serde_json::to_string(&cents(amount)).unwrap(), shown);
        assert_eq!(serde_json::to_value(cents(amount)).unwrap().to_string(), shown);
    }
}

#[test]
fn a_number_out_of_range_is_refused_by_every_door() {
    fn assert_range<T: DeserializeOwned + std::str::FromStr + PartialEq + std::fmt::Debug>(
        inside: &[u64],
        outside: &[u64],
    ) {
        for number in inside {
            let text = number.to_string();
            assert!(
                text.parse::<T>().is_ok() && json::<T>(&text).is_some() && binary::<T>(number).is_some(),
                "{number}"
            );
        }
        for number in outside {
            let text = number.to_string();
            assert!(
                text.parse::<T>().is_err() && json::<T>(&text).is_none() && binary::<T>(number).is_none(),
                "{number}"
            );
        }
    }
    let most = (1 << 53) - 1;
    assert_range::<BookId>(&[1, 7, most], &[0, most + 1, u64::MAX]);
    assert_range::<OrderId>(&[1, 7, most], &[0, most + 1, u64::MAX]);
    assert_range::<Quantity>(&[0, 1, 1_000_000_000_000], &[1_000_000_000_001, u64::MAX]);
    assert_range::<Copies>(&[1, 1000], &[0, 1001, 65_537, u64::MAX]);
}

#[test]
fn a_number_is_digits_alone() {
    for text in ["", "+1", "1.0", "1e3", "0x1", "\"1\"", "null", "true", "[1]"] {
        assert!(text.parse::<Quantity>().is_err() && json::<Quantity>(text).is_none(), "{text}");
        assert!(text.parse::<QuantityChange>().is_err() && json::<QuantityChange>(text).is_none(), "{text}");
    }
    assert!(" 1".parse::<Quantity>().is_err());
    assert_eq!(json("-0"), Some(Quantity::LEAST));
    assert_eq!(json("-0"), Some(change(0)));
    assert_eq!(json("-5"), Some(change(-5)));
    assert_eq!(binary::<QuantityChange>(i64::MIN), None);
}

#[test]
fn no_number_follows_the_last() {
    assert_eq!(BookId::after(0), BookId::new(1).ok());
    assert_eq!(BookId::after(BookId::MOST.get()), None);
    assert_eq!(OrderId::after(OrderId::MOST.get()), None);
    assert_eq!((BookId::after(u64::MAX), OrderId::after(u64::MAX)), (None, None));
}

#[test]
fn a_text_is_one_line_in_which_something_can_be_seen() {
    for fine in ["a", " a ", "Xen & \"Art\"", "شعر", "日本", "=1+1", &"x".repeat(MAX_TEXT_BYTES)] {
        assert_eq!(binary(fine), Some(text(fine)), "{fine}");
    }
    for (wrong, why) in [
        ("", NotAText::Blank),
        (" \u{a0}", NotAText::Blank),
        ("\u{200b}", NotAText::Blank),
        ("\u{3164} \u{2800}\u{fe0f}\u{e0041}", NotAText::Blank),
        ("a\0", NotAText::Control('\0')),
        ("a\nb", NotAText::Control('\n')),
        ("\u{1b}[31m", NotAText::Control('\u{1b}')),
        ("a\u{202e}b", NotAText::Control('\u{202e}')),
        ("a\u{2028}b", NotAText::Control('\u{2028}')),
        (&"x".repeat(MAX_TEXT_BYTES + 1), NotAText::TooLong { bytes: MAX_TEXT_BYTES + 1 }),
    ] {
        assert_eq!(wrong.parse::<Text>(), Err(why), "{wrong:?}");
        assert_eq!(binary::<Text>(wrong), None, "{wrong:?}");
        assert_eq!(json::<Text>(&serde_json::to_string(wrong).unwrap()), None, "{wrong:?}");
    }
}

#[test]
fn a_key_comes_back_as_it_was_written() {
    for text in ["0190f5b0-7a7e-7c3e-8a1b-000000000001", "0190F5B0-7A7E-7C3E-8A1B-000000000001", "buy#1", "0", "=1"] {
        assert_eq!(text.parse::<Key>().unwrap().to_string(), text);
    }
    for text in ["", "two words", "line\n", "ключ", &"k".repeat(MAX_KEY_BYTES + 1)] {
        assert_eq!(text.parse::<Key>(), Err(NotAKey), "{text}");
    }
}

/// As a node would send a key that is none.
#[derive(Serialize)]
enum SentKey<'a> {
    #[allow(dead_code)]
    Uuid([u8; 16]),
    Text(&'a str),
}

#[test]
fn a_key_from_a_message_is_checked_and_has_the_one_form_that_its_text_has() {
    assert_eq!(binary::<Key>(SentKey::Text("two words\n")), None);
    assert_eq!(binary::<Key>(SentKey::Text("")), None);
    let uuid = "0190f5b0-7a7e-7c3e-8a1b-000000000001";
    assert_eq!(binary(SentKey::Text(uuid)), Some(uuid.parse::<Key>().unwrap()));
}

#[test]
fn a_moment_that_no_text_can_tell_is_none() {
    assert_eq!(binary::<UnixMillis>(u64::MAX), None);
    let last = UnixMillis::of_clock(u64::MAX);
    assert_eq!(last.to_string(), "9999-12-31T23:59:59.999Z");
    assert_eq!(last.to_string().parse(), Ok(last));
    for text in ["yesterday", "1969-12-31T23:59:59.999Z", "+10000-01-01T00:00:00.000Z"] {
        assert_eq!(text.parse::<UnixMillis>(), Err(NotAMoment), "{text}");
    }
}

#[test]
fn an_order_takes_as_few_bytes_as_before_it_had_a_quantity() {
    assert_eq!(size_of::<Order>(), 80);
}

proptest! {
    #[test]
    fn a_price_survives_text_json_and_binary(amount in 0..=Cents::MOST.get()) {
        let price = cents(amount);
        prop_assert_eq!(price.to_string().parse(), Ok(price));
        prop_assert_eq!(json(&serde_json::to_string(&price).unwrap()), Some(price));
        prop_assert_eq!(serde_json::from_value::<Cents>(serde_json::to_value(price).unwrap()).unwrap(), price);
        prop_assert_eq!(binary(price), Some(price));
    }

    #[test]
    fn a_moment_survives_its_text(moment in 0..4_000_000_000_000u64) {
        let moment = UnixMillis::of_clock(moment);
        prop_assert_eq!(moment.to_string().parse(), Ok(moment));
    }

    #[test]
    fn a_stock_is_never_out_of_range(quantity in 0..=Quantity::MOST.get(), changed in any::<i64>(), taken in 1..=1000u64) {
        let quantity = Quantity::new(quantity).unwrap();
        let less = quantity.less(Copies::new(taken).unwrap());
        prop_assert_eq!(less.map(Quantity::get), quantity.get().checked_sub(taken));
        if let Ok(change) = QuantityChange::new(changed) {
            let expected = i128::from(quantity.get()) + i128::from(changed);
            match quantity.changed(change) {
                Ok(changed) => prop_assert_eq!(i128::from(changed.get()), expected),
                Err(CannotChange::BelowZero) => prop_assert!(expected < 0),
                Err(CannotChange::TooMany) => prop_assert!(expected > i128::from(Quantity::MOST.get())),
            }
        }
    }
}
