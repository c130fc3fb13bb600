//! What every backend must do, as many small cases: each takes a fresh store and knows nothing of what is behind it.
//!
//! [`suite!`] turns the cases into tests of one backend; `backend::tests` says of which. A store under test has the
//! sizes below. A case that needs time to pass lets an expiry lie a few milliseconds ahead and waits for it: it never
//! claims that something is *not yet* gone, so a slow machine cannot break it.

pub(super) mod bus;
pub(super) mod common;
pub(super) mod counters;
pub(super) mod eviction;
pub(super) mod hashes;
pub(super) mod keyspace;
pub(super) mod rows;
pub(super) mod scans;
pub(super) mod tables;
pub(super) mod threads;
pub(super) mod transactions;
pub(super) mod updates;

/// Counters that fit into a store under test.
pub(super) const COUNTERS: u64 = 32;
/// Keys that fit at least into the key-value space of a store under test.
pub(super) const MAX_KEYS: u64 = 512;
/// Bytes of a store under test.
pub(super) const MEMORY_BYTES: u64 = 32 << 20;
/// Workers of a store under test.
pub(super) const WORKERS: usize = 2;

/// One `#[test]` for each case, against a store of `$make`: a path as seen from two modules further in.
macro_rules! suite {
    ($make:path) => {
        crate::backend::conformance::suite! { @ $make;
            tables {
                make_says_whether_the_table_is_new
                make_again_finds_the_rows
                make_with_another_schema_is_refused
                make_refuses_what_breaks_the_rules
                the_longest_names_are_allowed
                the_largest_row_is_allowed
                the_most_columns_are_allowed
                a_table_that_is_too_large_is_refused
                tables_are_listed_by_name
                a_missing_table_is_not_found
                info_tells_schema_count_and_bytes
                memory_in_use_stays_within_the_store
                hidden_tables_are_kept_from_clients
                exactly_so_many_tables_fit
                handles_of_a_dropped_table_are_turned_away
                a_table_made_again_is_empty_and_another
                a_table_can_be_made_again_with_another_schema
                dropped_tables_give_their_memory_back
                tables_do_not_touch_each_other
                clear_deletes_every_row
                a_clone_of_a_handle_is_the_same_table
            }
            rows {
                a_new_row_has_zeros_elsewhere
                an_old_row_keeps_what_is_not_written
                a_row_that_comes_back_is_new
                of_equal_columns_the_last_wins
                strings_are_binary_and_leave_no_rest
                numbers_keep_every_bit
                keys_are_binary_and_distinct
                reading_overwrites_a_reused_row
                a_missing_row_is_a_miss
                a_refused_write_changes_nothing
                a_key_that_does_not_fit_is_never_cut
                add_writes_only_what_is_absent
                update_writes_only_what_is_present
                a_refused_condition_leaves_the_expiry
                incr_makes_the_row_and_adds
                incr_leaves_the_other_columns
                an_integer_that_would_overflow_stays
                a_float_takes_a_float_step
                a_refused_sum_makes_no_phantom_row
                incr_keeps_the_expiry
                cas_sets_only_what_is_as_expected
                cas_compares_all_of_what_it_is_given
                a_refused_cas_changes_nothing
                the_last_to_release_a_row_deletes_it
                delete_says_whether_there_was_a_row
                getdel_gives_the_row_back_once
                exactly_so_many_rows_fit
                capacity_does_not_depend_on_the_keys
                capacity_stays_exact_under_churn
                a_table_can_be_emptied_and_filled_again
                a_full_table_refuses_only_new_rows
                count_follows_every_change
                mget_answers_in_the_order_of_the_keys
                mset_makes_and_changes_rows
                mset_of_equal_keys_applies_them_in_order
                a_batch_has_at_most_64_rows
                mset_is_refused_as_a_whole
                a_row_expires_only_if_told_to
                a_write_keeps_sets_or_takes_the_expiry
                a_row_that_comes_back_has_no_expiry
                an_expiry_that_has_passed_deletes
                an_expired_row_is_a_miss_to_every_reader
                an_expired_row_cannot_be_brought_back
                a_write_to_an_expired_row_makes_a_new_one
                expired_rows_make_room
                expired_rows_make_room_for_a_batch
                the_sweep_frees_expired_rows
            }
            transactions {
                a_transaction_sees_what_it_does
                a_refused_transaction_leaves_nothing
                a_panic_leaves_nothing_of_a_transaction
                tables_are_not_made_or_dropped_inside
                a_refused_part_leaves_nothing_of_itself
                nobody_sees_half_of_a_transaction
                every_write_touches_its_key
                a_key_that_comes_and_goes_was_touched
                time_touches_a_key_that_was_live
            }
            scans {
                a_scan_of_nothing_ends_at_once
                a_scan_returns_every_row_once
                a_scan_returns_whole_rows
                a_scan_of_a_holey_table_is_complete
                deleting_what_a_scan_returned_is_safe
                rows_that_stay_are_returned_once_while_others_come_and_go
                a_cursor_from_nowhere_does_no_harm
                a_scan_returns_every_key
                deleting_keys_that_a_scan_returned_is_safe
                keys_that_stay_are_returned_while_others_come_and_go
            }
            counters {
                a_counter_is_made_by_its_first_write
                a_counter_counts
                a_counter_that_would_overflow_stays
                a_bound_is_reached_and_not_passed
                a_sum_beyond_64_bits_is_beyond_every_bound
                a_bound_that_refuses_makes_no_counter
                a_swap_needs_the_expected_value
                a_deleted_counter_starts_over
                an_old_handle_never_counts_into_another_counter
                counter_names_have_1_to_255_bytes
                counters_are_listed_by_name
                exactly_so_many_counters_fit
                counters_come_and_go_without_end
                counters_share_no_names_with_tables_and_keys
            }
            keyspace {
                a_missing_key_is_a_miss
                values_of_every_length_come_back
                a_value_can_change_to_every_length
                get_appends_to_what_is_there
                keys_are_binary_and_may_be_empty
                keys_of_every_length_are_kept_apart
                a_key_that_is_too_long_is_refused
                databases_are_apart
                a_database_that_is_not_there_is_refused
                set_obeys_its_condition
                set_gives_the_value_before_if_asked
                set_keeps_sets_or_takes_the_expiry
                a_set_that_has_passed_deletes
                mget_follows_its_keys
                mset_writes_all_and_takes_expiries
                mset_if_absent_is_all_or_nothing
                a_batch_may_be_larger_than_one_of_rows
                getdel_gives_the_value_back_once
                getex_changes_the_expiry_alone
                append_makes_and_extends
                append_grows_through_every_length
                append_beyond_its_bound_changes_nothing
                incr_counts_in_text
                incr_refuses_what_is_no_integer
                incr_that_would_overflow_changes_nothing
                incr_float_writes_plain_decimals
                incr_float_refuses_what_is_no_float
                delete_and_exists_tell_the_truth
                expire_obeys_its_rule
                persist_needs_an_expiry
                an_expire_that_has_passed_deletes_if_its_rule_allows
                an_expired_key_is_a_miss_to_every_reader
                an_expired_key_stays_gone
                a_write_to_an_expired_key_makes_a_new_one
                the_sweep_frees_expired_keys
                keys_that_go_are_told_of_while_somebody_listens
                rename_moves_value_and_expiry
                rename_if_absent_spares_the_target
                rename_onto_itself_changes_nothing
                rename_works_between_long_and_short_keys
                random_key_finds_every_key
                len_and_expiring_follow_every_change
                flush_empties_one_database_or_all
                flush_concerns_this_space_alone
                at_least_so_many_keys_fit
                a_full_space_refuses_only_new_keys
                keys_come_and_go_without_end
                expired_keys_make_room
                values_give_their_memory_back
            }
            hashes {
                an_absent_hash_has_no_fields
                fields_come_change_and_go
                what_is_no_hash_is_the_wrong_kind
                a_field_named_twice_is_changed_twice
                a_change_that_is_refused_changes_no_field
                a_change_is_shown_values_if_it_wants_them
                a_hash_keeps_its_expiry_and_expires_as_a_whole
                a_hash_goes_where_its_key_goes
                fields_and_values_of_every_length_come_back
                fields_are_binary_and_kept_apart
                a_large_hash_comes_and_goes
                a_hash_is_small_up_to_a_bound
                pairs_are_bounded
                a_scan_returns_every_field_once
                chosen_fields_are_those_of_their_places
                hashes_give_their_memory_back
            }
            updates {
                an_update_is_shown_the_value_and_the_expiry
                an_update_sets_deletes_or_leaves
                a_refused_update_changes_nothing
                a_key_is_derived_from_others
                a_key_is_derived_from_itself
                a_derivation_from_too_many_keys_is_refused
                a_full_space_refuses_updates_that_need_room
                many_are_set_under_a_condition_with_an_expiry
                a_key_moves_to_another_database
                databases_swap_with_all_that_is_in_them
            }
            eviction {
                a_missing_key_has_no_usage_and_no_bytes
                usage_of_what_cannot_be_a_key_is_refused
                idle_time_is_what_was_set_until_the_key_is_used
                reads_that_are_not_to_count_are_no_use
                a_frequency_is_what_was_set_and_goes_up
                a_key_that_comes_back_is_new
                bytes_follow_the_length_of_the_value
                memory_in_use_returns_to_what_it_was
                keys_go_until_no_more_is_in_use_than_may_be
                where_nothing_may_go_there_is_no_room
            }
            bus {
                every_worker_has_a_ring_in_which_there_is_nothing
                messages_of_every_length_come_in_their_order
                every_reader_has_a_place_of_its_own
                who_is_overtaken_is_told_so_and_goes_on
                who_reads_when_the_number_grows_is_never_overtaken
                a_worker_is_woken_once_until_it_listens
                patterns_have_a_version
                readers_see_whole_messages_in_order
            }
            threads {
                no_sum_is_lost
                a_bound_holds_for_all_together
                of_those_who_add_a_row_one_wins
                of_those_who_swap_one_wins
                capacity_is_exact_for_all_together
                a_table_is_never_full_before_its_time
                a_row_is_never_torn
                a_row_that_comes_and_goes_is_whole_or_absent
                a_batch_is_seen_whole_or_not_at_all
                a_value_is_never_torn
                several_keys_change_as_one
                a_renamed_key_is_in_one_place
                a_key_is_taken_by_one
                statistics_are_kept_for_each_worker
            }
        }
    };
    (@ $make:path; $($group:ident { $($case:ident)* })*) => {
        $(mod $group {
            $(#[test] fn $case() { crate::backend::conformance::$group::$case(&$make()); })*
        })*
    };
}
pub(super) use suite;
