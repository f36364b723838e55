use super::super::material::{Authority, CERTIFICATE, Data, KEY, make_authority, read_authority, read_pair};
use super::*;
use k8s_openapi::ByteString;

const DAY: SignedDuration = SignedDuration::from_hours(24);

fn start() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

fn names() -> Vec<String> {
    vec!["webhook.ns.svc".to_owned(), "webhook.ns.svc.cluster.local".to_owned()]
}

fn authority(made: Timestamp) -> Authority {
    make_authority(made, CA_LIFE).unwrap()
}

fn pair_data(ca: &Authority, made: Timestamp) -> Data {
    let (certificate, key) = ca.issue(&names(), made, PAIR_LIFE).unwrap();
    let entry = |name: &str, text: String| (name.to_owned(), ByteString(text.into_bytes()));
    Data::from([entry(CERTIFICATE, certificate), entry(KEY, key)])
}

fn pair(ca: &Authority, made: Timestamp) -> Certificate {
    read_pair(&pair_data(ca, made)).unwrap().0
}

fn settled(ca: &Authority, pair: Option<Certificate>) -> State {
    State {
        authority: Some(ca.certificate.clone()),
        pair,
        applied: vec![ca.certificate.clone()],
        applied_for: Some(SETTLE),
        names: names(),
        ..State::default()
    }
}

#[test]
fn the_first_start() {
    let mut state = State { names: names(), ..State::default() };
    assert_eq!(plan(&state, start()).step, Some(Step::MakeAuthority { keep: vec![] }));

    let ca = authority(start());
    state.authority = Some(ca.certificate.clone());
    let first = plan(&state, start());
    assert_eq!((first.bundle, first.step), (vec![ca.certificate.clone()], Some(Step::IssuePair)));

    state.pair = Some(pair(&ca, start()));
    let done = plan(&state, start());
    assert_eq!((done.step, done.again), (None, start() + CHECK_INTERVAL));
}

#[test]
fn a_pair_is_renewed_after_two_thirds_of_its_life() {
    let ca = authority(start());
    let state = settled(&ca, Some(pair(&ca, start())));
    let rows = [(19, None), (21, Some(Step::IssuePair)), (40, Some(Step::IssuePair))];
    for (days, step) in rows {
        assert_eq!(plan(&state, start() + DAY * days).step, step, "after {days} days");
    }
}

#[test]
fn a_pair_for_other_names_is_replaced_at_once() {
    let ca = authority(start());
    let mut state = settled(&ca, Some(pair(&ca, start())));
    state.applied_for = None;
    state.names = vec!["other.ns.svc".to_owned()];
    assert_eq!(plan(&state, start()).step, Some(Step::IssuePair));
}

#[test]
fn an_authority_is_replaced_without_a_moment_of_distrust() {
    let old = authority(start());
    let later = start() + DAY * 250;
    let mut state = settled(&old, Some(pair(&old, later - DAY)));

    let keep = vec![old.certificate.clone()];
    assert_eq!(plan(&state, later).step, Some(Step::MakeAuthority { keep: keep.clone() }));

    // Made, not applied: the bundle holds both, and the old pair stays.
    let new = authority(later);
    state = State { authority: Some(new.certificate.clone()), previous: keep, applied_for: None, ..state };
    let both = vec![new.certificate.clone(), old.certificate.clone()];
    let waiting = plan(&state, later);
    assert_eq!((waiting.bundle, waiting.step), (both.clone(), None));

    // Applied, not settled.
    state.applied = both.clone();
    state.applied_for = Some(SETTLE / 2);
    let waiting = plan(&state, later);
    assert_eq!((waiting.step, waiting.again), (None, later + SETTLE / 2));

    // Settled: the pair is issued, and the old authority stays trusted for a while.
    state.applied_for = Some(SETTLE);
    assert_eq!(plan(&state, later).step, Some(Step::IssuePair));
    state.pair = Some(pair(&new, later));
    let after = plan(&state, later);
    assert_eq!((after.bundle, after.step), (both, None));
    let after = plan(&state, later + DROP_AFTER);
    assert_eq!(after.step, Some(Step::DropPrevious { keep: vec![] }));
}

#[test]
fn a_lost_authority_stays_trusted_while_its_pair_serves() {
    let old = authority(start());
    let stranger = authority(start());
    let mut state = settled(&old, Some(pair(&old, start())));
    state.authority = None;
    state.applied = vec![stranger.certificate, old.certificate.clone()];
    assert_eq!(plan(&state, start()).step, Some(Step::MakeAuthority { keep: vec![old.certificate] }));
}

#[test]
fn an_expired_authority_is_replaced_and_not_kept() {
    let old = authority(start());
    let later = start() + CA_LIFE + DAY;
    let state = settled(&old, Some(pair(&old, start())));
    assert_eq!(plan(&state, later).step, Some(Step::MakeAuthority { keep: vec![] }));
}

#[test]
fn a_pair_of_an_authority_that_nobody_trusts_is_replaced_at_once() {
    let (ca, stranger) = (authority(start()), authority(start()));
    let mut state = settled(&ca, Some(pair(&stranger, start())));
    state.applied_for = None;
    assert_eq!(plan(&state, start()).step, Some(Step::IssuePair));
}

#[test]
fn a_clock_that_jumped_is_survived() {
    let ca = authority(start());
    let state = settled(&ca, Some(pair(&ca, start())));
    // Back by less than what certificates are backdated by: nothing happens.
    assert_eq!(plan(&state, start() - BACKDATED / 2).step, None);
    // Back by more: what is not valid yet is made anew, and not trusted.
    assert_eq!(plan(&state, start() - DAY).step, Some(Step::MakeAuthority { keep: vec![] }));
    // Far ahead and back again.
    let future = authority(start() + DAY * 1000);
    let state = settled(&future, Some(pair(&future, start() + DAY * 1000)));
    assert_eq!(plan(&state, start()).step, Some(Step::MakeAuthority { keep: vec![] }));
}

#[test]
fn corrupt_secrets_are_as_good_as_none() {
    let ca = authority(start());
    let data = Data::from([
        (CERTIFICATE.to_owned(), ByteString(ca.certificate.pem().into_bytes())),
        (KEY.to_owned(), ByteString(ca.key_pem().into_bytes())),
    ]);
    assert!(read_authority(&data).is_some());
    let serving = pair_data(&ca, start());
    assert!(read_pair(&serving).is_some());
    assert!(read_authority(&serving).is_none(), "a serving pair is no authority");

    let change = |key: &str, value: Option<&[u8]>| {
        let mut data = data.clone();
        match value {
            Some(value) => data.insert(key.to_owned(), ByteString(value.to_vec())),
            None => data.remove(key),
        };
        data
    };
    let pem = ca.certificate.pem();
    for (name, data) in [
        ("no key", change(KEY, None)),
        ("no certificate", change(CERTIFICATE, None)),
        ("empty", change(CERTIFICATE, Some(b""))),
        ("not PEM", change(CERTIFICATE, Some(b"\xff\xfe"))),
        ("cut off", change(CERTIFICATE, Some(&pem.as_bytes()[..pem.len() / 2]))),
        ("key of another", change(KEY, Some(&serving[KEY].0))),
    ] {
        assert!(read_authority(&data).is_none(), "{name}");
    }
}

#[test]
fn what_is_made_says_what_it_is_for() {
    let ca = authority(start());
    let leaf = pair(&ca, start());
    assert!(ca.certificate.has_signed(&leaf) && !leaf.has_signed(&leaf));
    assert_eq!(leaf.names, names());
    assert_eq!((leaf.not_before, leaf.not_after), (start() - BACKDATED, start() + PAIR_LIFE));
    assert_eq!(Certificate::read_all(leaf.pem().as_bytes()), std::slice::from_ref(&leaf));
    // A pair never outlives its authority.
    let late = pair(&ca, ca.certificate.not_after - DAY);
    assert_eq!(late.not_after, ca.certificate.not_after);
}
