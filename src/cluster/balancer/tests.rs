//! What is believed of replicas, by what they say and do.

use super::*;

fn balancer() -> Balancer {
    Balancer::new((1..=3).map(|number| Member { id: format!("catalog-{number}"), address: String::new() }))
}

fn turns(balancer: &Balancer, tried: &[usize], count: usize) -> Vec<usize> {
    (0..count).filter_map(|_| balancer.next(tried)).collect()
}

fn write_turns(balancer: &Balancer, tried: &[usize], count: usize) -> Vec<usize> {
    (0..count).filter_map(|_| balancer.leader_or_next(tried)).collect()
}

/// What a replica says of itself that serves under this leader.
fn standing(position: usize, leader: &str, term: u64) -> Standing {
    Standing {
        id: format!("catalog-{}", position + 1),
        cluster: Some("the shop".to_owned()),
        leader: Some(Leading { id: leader.to_owned(), term }),
        serves: true,
        hindrance: None,
    }
}

fn fail(balancer: &Balancer, position: usize) {
    balancer.note_failure(position, "it hangs".to_owned());
}

#[test]
fn replicas_take_turns() {
    assert_eq!(turns(&balancer(), &[], 7), [0, 1, 2, 0, 1, 2, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_fails_is_left_out_until_it_serves_again() {
    let balancer = balancer();
    fail(&balancer, 1);
    assert_eq!(turns(&balancer, &[], 4), [0, 2, 0, 2]);
    // That a probe reaches it says nothing so soon after a request failed.
    balancer.note_standing(1, Ok(standing(1, "catalog-1", 1)));
    assert_eq!(balancer.condition(1), Condition::Silent);
    tokio::time::advance(FIRST_BAR * 2).await;
    balancer.note_standing(1, Ok(Standing { serves: false, ..standing(1, "catalog-1", 1) }));
    assert_eq!(balancer.condition(1), Condition::Behind);
    assert_eq!(turns(&balancer, &[], 4), [0, 2, 0, 2]);
    balancer.note_standing(1, Ok(standing(1, "catalog-1", 1)));
    assert_eq!(turns(&balancer, &[], 3).iter().filter(|position| **position == 1).count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_fails_again_and_again_is_left_out_for_longer_each_time() {
    let balancer = balancer();
    for (failures, at_least) in [(1, FIRST_BAR / 2), (2, FIRST_BAR), (8, LONGEST_BAR / 2)] {
        while balancer.replicas()[1].record().failures < failures {
            fail(&balancer, 1);
        }
        tokio::time::advance(at_least - Duration::from_millis(1)).await;
        balancer.note_standing(1, Ok(standing(1, "catalog-1", 1)));
        assert_eq!(balancer.condition(1), Condition::Silent, "after {failures} failures");
    }
    tokio::time::advance(LONGEST_BAR * 2).await;
    balancer.note_standing(1, Ok(standing(1, "catalog-1", 1)));
    assert_eq!(balancer.condition(1), Condition::Serves);
}

#[test]
fn those_that_do_not_serve_are_asked_if_nobody_does() {
    let balancer = balancer();
    let behind = |position| Standing { serves: false, ..standing(position, "catalog-1", 1) };
    balancer.note_standing(0, Ok(behind(0)));
    assert_eq!(turns(&balancer, &[], 4), [1, 2, 1, 2]);
    assert_eq!(turns(&balancer, &[1, 2], 1), [0]);
    balancer.note_standing(1, Ok(Standing { leader: None, ..standing(1, "", 0) }));
    fail(&balancer, 2);
    let mut both = turns(&balancer, &[], 4);
    both.sort_unstable();
    assert_eq!(both, [0, 0, 1, 1]);
}

#[test]
fn a_retry_goes_to_a_replica_that_was_not_tried() {
    assert_eq!(turns(&balancer(), &[0, 2], 6), [1; 6]);
}

#[test]
fn writes_go_to_the_leader_once_it_is_known_and_reads_go_on_in_turn() {
    let balancer = balancer();
    assert_eq!(write_turns(&balancer, &[], 3), [0, 1, 2]);
    balancer.note_leader(0, "catalog-2", 4);
    assert_eq!(write_turns(&balancer, &[], 3), [1, 1, 1]);
    assert_eq!(turns(&balancer, &[], 3), [0, 1, 2]);
    balancer.note_leader(0, "catalog-9", 5);
    assert_eq!(write_turns(&balancer, &[], 3), [1, 1, 1]);
}

#[test]
fn a_leader_of_an_earlier_term_is_not_believed() {
    let balancer = balancer();
    balancer.note_leader(0, "catalog-2", 4);
    balancer.note_leader(0, "catalog-1", 3);
    assert_eq!(write_turns(&balancer, &[], 2), [1, 1]);
    balancer.note_leader(0, "catalog-3", 5);
    assert_eq!(write_turns(&balancer, &[], 2), [2, 2]);
    // It may not know yet that it was replaced.
    assert_eq!(balancer.condition(1), Condition::Behind);
    balancer.note_standing(1, Ok(standing(1, "catalog-2", 4)));
    assert_eq!((balancer.condition(1), write_turns(&balancer, &[], 2)), (Condition::Behind, vec![2, 2]));
}

#[test]
fn a_leader_that_failed_is_not_asked_although_others_name_it() {
    let balancer = balancer();
    balancer.note_leader(0, "catalog-2", 4);
    fail(&balancer, 1);
    balancer.note_leader(0, "catalog-2", 4);
    assert_eq!(write_turns(&balancer, &[], 4), [0, 2, 0, 2]);
}

#[test]
fn a_stranger_at_a_replicas_address_is_not_asked() {
    let balancer = balancer();
    balancer.note_standing(0, Ok(Standing { id: "order-1".to_owned(), ..standing(0, "order-1", 9) }));
    assert_eq!((balancer.condition(0), turns(&balancer, &[], 4)), (Condition::Stranger, vec![1, 2, 1, 2]));
    assert_eq!(balancer.leader(), Leader::default(), "nor is its leader believed");
    balancer.note_standing(0, Ok(standing(0, "catalog-1", 1)));
    balancer.note_standing(1, Ok(standing(1, "catalog-1", 1)));
    // Another shop's replica of the same name.
    let other = Standing { cluster: Some("another shop".to_owned()), ..standing(2, "catalog-3", 7) };
    balancer.note_standing(2, Ok(other));
    assert_eq!((balancer.condition(2), balancer.leader().position), (Condition::Stranger, Some(0)));
}

#[tokio::test(start_paused = true)]
async fn a_group_that_is_silent_is_tried_for_a_moment_and_then_given_up_until_one_answers() {
    let balancer = balancer();
    balancer.note_leader(0, "catalog-2", 7);
    (0..3).for_each(|position| fail(&balancer, position));
    assert_eq!((turns(&balancer, &[], 3).len(), balancer.is_given_up()), (3, false));
    tokio::time::advance(GROUP_PATIENCE).await;
    assert!(balancer.is_given_up() && balancer.next(&[]).is_none() && !balancer.has_others(&[]));
    balancer.note_answer(2);
    assert_eq!((balancer.is_given_up(), balancer.next(&[])), (false, Some(2)));
    // It may have begun anew.
    balancer.note_leader(0, "catalog-3", 1);
    assert_eq!(balancer.leader().position, Some(2));
    assert!(Balancer::new([]).next(&[]).is_none());
}

#[tokio::test(start_paused = true)]
async fn a_group_that_was_given_up_on_is_asked_as_soon_as_a_probe_is_answered() {
    let balancer = balancer();
    for _ in 0..10 {
        (0..3).for_each(|position| fail(&balancer, position));
    }
    tokio::time::advance(GROUP_PATIENCE).await;
    assert!(balancer.is_given_up());
    balancer.note_standing(1, Ok(standing(1, "catalog-2", 1)));
    assert_eq!((balancer.is_given_up(), balancer.next(&[])), (false, Some(1)));
}

#[test]
fn a_stranger_that_is_heard_before_the_others_keeps_nobody_from_serving() {
    let balancer = balancer();
    let other = Standing { cluster: Some("another shop".to_owned()), ..standing(2, "catalog-3", 50) };
    balancer.note_standing(2, Ok(other.clone()));
    for position in [0, 1, 2, 0, 1] {
        balancer.note_standing(
            position,
            Ok(if position == 2 { other.clone() } else { standing(position, "catalog-1", 3) }),
        );
    }
    let conditions = [0, 1, 2].map(|position| balancer.condition(position));
    assert_eq!(conditions, [Condition::Serves, Condition::Serves, Condition::Stranger]);
    assert_eq!(balancer.leader(), Leader { term: 3, position: Some(0) });
}

#[test]
fn an_attempt_is_hopeless_once_its_leader_is_replaced_or_its_replica_is_silent() {
    let balancer = balancer();
    balancer.note_leader(0, "catalog-1", 3);
    let leader = balancer.leader();
    let hopeless = |position| balancer.hopeless(position, leader, Condition::Serves).is_some();
    assert!(!hopeless(0) && !hopeless(1));
    balancer.note_leader(0, "catalog-2", 4);
    // A follower passes requests on to the successor by itself.
    assert!(hopeless(0) && !hopeless(1) && !hopeless(2));
    balancer.note_standing(2, Err("it hangs".to_owned()));
    assert!(hopeless(2) && balancer.hopeless(2, leader, Condition::Silent).is_none());
}
