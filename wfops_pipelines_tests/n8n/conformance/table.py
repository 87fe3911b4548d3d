"""Which case shows which statement of ``facts/n8n.md`` (§3–8 and §13), and where n8n was found to do otherwise.

``quote`` is a piece of the statement, word for word. ``measured`` is set where the cases, run against the real servers,
show something else than the statement says: then the cases are right. ``why`` says why a statement needs no case.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    section: int
    quote: str
    cases: tuple[str, ...] = ()
    measured: str = ""
    why: str = ""


def row(section: int, quote: str, cases: str = "", *, measured: str = "", why: str = "") -> Row:
    return Row(section, quote, tuple(cases.split()), measured, why)


TABLE = [
    # 3. Auth, errors, limits
    row(3, "| no key |", "test_without_a_key_it_answers_401"),
    row(3, "| bad or expired key |", "test_a_wrong_key_is_refused_with_401 test_a_wrong_key_is_refused_and_not_echoed "
           "test_the_health_of_a_server_whose_key_is_refused"),
    row(3, "| key lacks scope |", "test_scopes_of_a_key_are_enforced_by_2x_alone"),
    row(3, "| API key as Bearer |", "test_an_api_key_is_no_bearer_token"),
    row(3, "| unknown path |", "test_an_unknown_path_is_404_json"),
    row(3, "| unknown id |", "test_a_slash_that_is_escaped_belongs_to_the_id "
           "test_half_an_escape_in_a_path_is_400_in_1x_and_500_in_2x test_an_unknown_workflow_is_404 test_an_unknown_workflow_is_not_found "
           "test_writing_an_unknown_workflow_is_404_and_2x_speaks_of_permission"),
    row(3, "| PATCH /workflows/{id} |", "test_a_method_that_is_not_there_is_405"),
    row(3, "| unlicensed |", "test_what_needs_a_licence_is_403_and_says_so"),
    row(3, "| invalid JSON body |", "test_a_body_that_is_no_json_is_answered_with_an_html_page"),
    row(3, "| body > 16 MiB", "test_a_body_of_more_than_16_mib_is_413_html test_a_body_of_5_mib_is_taken_and_comes_back"),
    row(3, "| content-type not json |", "test_a_content_type_other_than_json_is_415"),
    row(3, "| unknown query parameter |", "test_an_unknown_query_parameter_is_refused_by_1x_and_ignored_by_2x"),
    row(3, "| schema error |", "test_a_body_of_null_is_an_empty_object test_a_read_only_key_is_refused_by_name test_an_unknown_key_is_refused_and_only_2x_names_it "
           "test_a_workflow_that_n8n_refuses_is_rejected_with_its_words"),
    row(3, "Error body is", "test_the_error_body_is_an_object_with_a_message test_source_control_without_a_licence"),
    row(3, "No rate limit", "test_there_is_no_rate_limit"),
    row(3, "Responses gzip when asked", "test_answers_are_compressed_when_asked test_a_weak_etag_gives_304"),
    row(3, "HEAD 200", "test_head_is_answered_by_2x_alone", measured="1.x answers HEAD /workflows with 405"),
    row(3, "`/healthz` and `/healthz/readiness`", "test_health_is_answered_without_a_key test_metrics_are_off "
           "test_a_healthy_server"),
    row(3, "`GET /api/v1/openapi.yml`", why="nothing of ours reads it; and an n8n installed below a folder whose name "
        "begins with a dot, as in our cache, answers 404 (1.x) or 500 (2.x) there"),
    row(3, "V2 has `GET /api/v1/discover`", "test_discover_tells_1x_from_2x test_discover_needs_a_key_in_2x "
           "test_it_finds_out_the_generation test_it_is_registered_as_n8n"),
    # 4. GET /workflows
    row(4, "`limit` default 100", "test_a_parameter_that_is_given_twice_is_an_array_and_refused test_a_page_holds_100_by_default test_a_limit_above_250_is_refused_by_1x_and_clamped_by_2x "
           "test_a_limit_that_is_no_number_is_400 test_a_limit_of_0_gives_rows_all_the_same"),
    row(4, 'Response `{"data"', "test_a_page_is_data_and_next_cursor_alone test_pages_follow_their_cursor_to_null_and_cover_all "
           "test_the_adapter_lists_them_all_page_by_page test_pages_of_the_adapter_hold_what_a_raw_listing_holds"),
    row(4, "**offset pagination**", "test_a_cursor_is_base64_of_limit_and_offset test_the_limit_of_the_cursor_wins "
           "test_a_bad_cursor_is_400 test_a_delete_between_two_pages_shifts_a_row_out_of_sight"),
    row(4, "Cursors can be forged", "test_a_cursor_can_be_forged test_offset_is_a_parameter_of_2x_alone"),
    row(4, "Order: id ascending", "test_rows_are_in_the_order_of_their_ids test_ids_are_16_letters_and_digits "
           "test_a_listing_that_nobody_changed_is_byte_for_byte_the_same"),
    row(4, "Filters: `active`", "test_the_filter_active test_the_filter_tags_takes_names_and_means_all_of_them "
           "test_an_empty_tags_filter_is_refused_by_1x_and_ignored_by_2x test_the_filter_name_is_part_of_the_name_in_any_case "
           "test_an_unknown_project_is_an_empty_list test_archived_is_no_filter test_archived_workflows_are_in_the_list"),
    row(4, "Fields, LIST", "test_the_fields_of_a_row"),
    row(4, "GET one adds", "test_one_workflow_has_more_fields_than_its_row test_1x_shows_the_owner_and_so_personal_data "
           "test_only_an_active_workflow_tells_when_it_was_published_and_only_in_2x"),
    row(4, "**The list carries full nodes/connections**", "test_a_row_carries_whole_nodes_and_connections"),
    row(4, "Active workflows carry `activeVersion`", "test_an_active_workflow_carries_a_second_copy_in_the_list_too"),
    row(4, "excludePinnedData drops pinData only", "test_exclude_pinned_data_drops_pinned_data_alone"),
    row(4, "Deleted = gone", "test_a_deleted_workflow_leaves_no_trace test_a_deleted_workflow_is_gone_from_its_listing"),
    # 5. What changes versionId / updatedAt
    row(5, "| PUT identical body |", "test_putting_the_same_moves_updated_at_alone"),
    row(5, "| PUT name only |", "test_a_new_name_moves_the_version_in_1x_alone"),
    row(5, "| PUT settings / nodes / position |", "test_nodes_and_positions_move_both "
           "test_settings_move_the_version_in_1x_alone", measured="in 2.x a change of settings alone keeps versionId"),
    row(5, "| PUT settings with keys omitted |", "test_settings_left_out_move_the_version_in_1x_alone"),
    row(5, "| PUT staticData only |", "test_static_data_moves_the_version_in_1x_alone"),
    row(5, "| activate / deactivate / publish / unpublish |", "test_activation_moves_neither "
           "test_activation_counts_in_1x_and_not_in_2x"),
    row(5, "| assign or remove tags, rename/delete tag |", "test_tags_move_neither test_a_tag_that_is_deleted_moves_neither"),
    row(5, "| credential rename/edit/delete |", "test_a_credential_that_is_deleted_moves_neither_and_its_name_stays "
           "test_a_credential_that_is_renamed_keeps_its_old_name_in_nodes"),
    row(5, "| archive / unarchive (V2) |", "test_archiving_moves_both_and_deactivates"),
    row(5, "| executions |", "test_executions_move_neither"),
    row(5, "| versionCounter |", "test_the_version_counter_moves_with_any_write_in_1x_and_with_content_in_2x"),
    row(5, "=> compare a canonical hash", why="advice; domain.normalize follows it"),
    row(5, "Timestamps: ISO-8601", "test_timestamps_are_utc_with_milliseconds"),
    row(5, "Round trip (POST a real workflow", "test_parameters_come_back_with_their_values_and_order "
           "test_connections_come_back_as_they_were test_1x_adds_two_settings test_a_node_without_an_id_gets_one "
           "test_2x_adds_a_webhook_id test_what_get_gave_can_be_put_back_without_a_new_version "
           "test_what_get_gave_can_be_put_back test_what_get_gave_can_be_created_elsewhere test_old_exports_can_be_created"),
    row(5, "string credentials", "test_a_credential_given_as_text_that_names_none_stays_text",
        measured="text stays text where no credential has that name and type; else it becomes a reference with the id"),
    # 6. POST and PUT
    row(6, "Both need exactly", "test_four_keys_are_required test_a_create_answers_200_with_an_id_of_the_servers_choice "
           "test_names_need_not_be_unique"),
    row(6, "A GET body can NOT be sent back", "test_a_body_as_get_gives_it_is_refused"),
    row(6, "* V1: name, nodes, connections", "test_the_keys_of_a_body"),
    row(6, "* V2 POST: +", "test_the_keys_of_a_body test_a_description_may_be_empty_but_not_null"),
    row(6, "* Read-only everywhere", "test_the_keys_of_a_body test_a_read_only_key_is_refused_by_name"),
    row(6, "Node keys allowed", "test_the_keys_of_a_node test_any_other_key_of_a_node_is_refused "
           "test_null_is_refused_for_any_key_of_a_node"),
    row(6, "settings keys, V1", "test_the_keys_of_settings test_some_settings_are_taken_by_2x_alone "
           "test_other_settings_and_null_are_refused"),
    row(6, "**settings are MERGED on PUT in both**", "test_settings_are_merged_on_put test_three_settings_can_be_removed_by_a_value "
           "test_a_boolean_setting_can_be_set_but_not_removed test_1x_writes_the_caller_policy_again_when_left_out"),
    row(6, "staticData and pinData omitted", "test_static_data_left_out_is_kept_and_null_clears_it "
           "test_static_data_as_text_are_the_json_in_it_and_2x_keeps_objects_alone "
           "test_static_data_may_be_json_as_text test_pinned_data_left_out_are_kept_and_null_clears_them"),
    row(6, "V2 validates structure", "test_2x_validates_the_structure_and_1x_does_not test_2x_says_which_connection_dangles "
           "test_a_node_lacks_a_key_that_2x_requires test_a_node_may_lack_its_other_keys "
           "test_an_unknown_node_type_is_taken_and_refused_at_activation"),
    row(6, "PUT while active", "test_a_put_while_active_stays_active_and_goes_live "
           "test_a_put_can_leave_the_published_version_alone_in_2x test_an_update_can_leave_what_is_live_alone_in_2x"),
    row(6, "**V2 partial failure**", "test_a_put_that_cannot_be_published_saves_its_draft_in_2x"),
    row(6, "No optimistic lock", "test_there_is_no_optimistic_lock"),
    row(6, "Credentials in nodes", "test_a_credential_that_is_not_there_is_taken_and_activates "
           "test_a_stale_name_of_a_credential_is_refreshed test_a_credential_is_found_by_its_name_where_the_id_is_unknown "
           "test_a_credential_that_no_name_finds_stays_as_it_was test_a_name_that_two_credentials_have_finds_neither",
        measured="1.x repairs as 2.x does; a name that two credentials have is left alone in both"),
    # 7. Activation
    row(7, "V1: `POST /workflows/{id}/activate|deactivate`", "test_activate_and_deactivate_work_in_both_and_twice "
           "test_publish_and_unpublish_are_of_2x test_a_chosen_version_is_published_in_2x "
           "test_a_chosen_version_is_published_in_2x_and_rejected_in_1x test_it_activates_and_deactivates"),
    row(7, "No trigger -> 400", "test_after_a_put_that_1x_could_not_start_the_version_before_it_is_what_starts "
           "test_a_workflow_without_a_trigger_cannot_be_activated "
           "test_two_workflows_cannot_have_one_webhook_path "
           "test_a_clash_of_webhooks_is_a_conflict_in_2x_and_rejected_in_1x"),
    row(7, "**V2 registers webhooks asynchronously**", "test_2x_registers_after_it_has_answered_and_1x_before "
           "test_trigger_counts_appear_after_activation test_a_webhook_answers_once_it_is_registered "
           "test_the_methods_of_a_path_are_told_to_whoever_says_where_it_comes_from "
           "test_what_is_below_no_webhook_tells_no_methods test_forms_chats_and_mcp_servers_tell_their_methods_too "
           "test_a_webhook_of_another_method_names_those_there_are "
           "test_a_trigger_that_cannot_be_registered_is_refused_by_1x_and_not_counted_by_2x "
           "test_2x_goes_on_counting_a_trigger_that_an_update_made_impossible"),
    row(7, 'V2.x "active" == published', "test_active_means_that_there_is_an_active_version"),
    row(7, "Versions: V1", "test_a_version_can_be_read_and_has_no_name_or_settings test_the_history_is_newest_first_and_of_2x "
           "test_the_history_of_a_workflow_tells_who_saved_which_content_when_newest_first "
           "test_archiving_is_a_version_of_its_own_and_what_is_deleted_has_no_history"),
    row(7, "Archive: V1 has no public endpoint", "test_1x_has_no_archive test_an_archived_workflow_can_neither_be_written_nor_activated "
           "test_archiving_twice_is_fine_unarchiving_twice_is_not test_archiving_is_rejected_in_1x_naming_the_version",
        measured="to unarchive what is not archived is 400"),
    row(7, "`DELETE /workflows/{id}` works directly", "test_an_inactive_workflow_is_deleted_at_once_archived_or_not "
           "test_an_active_workflow_is_deleted_by_1x_and_refused_by_2x "
           "test_it_deletes_active_or_not_and_says_when_there_was_nothing",
        measured="2.x refuses a published workflow with 409, also while it is still being unpublished"),
    # 8. Other endpoints
    row(8, "Tags: POST 201", "test_a_tag_is_created_once test_an_empty_or_long_name_of_a_tag_is_said_to_exist "
           "test_tags_are_listed_read_renamed_and_deleted test_the_tags_of_a_workflow_are_replaced_as_a_whole "
           "test_tags_are_given_by_id_alone test_tags_by_the_adapter"),
    row(8, "Credentials V1", "test_credentials_are_created_and_deleted_and_only_2x_shows_them "
           "test_2x_takes_a_chosen_id_for_a_credential test_the_data_of_a_credential_are_checked_against_its_schema "
           "test_names_of_credentials_need_not_be_unique test_credentials_by_the_adapter "
           "test_the_schema_of_a_credential_by_the_adapter test_a_credential_is_tested_by_2x_alone"),
    row(8, "Variables 403", "test_some_things_need_a_licence test_promotions_between_instances_need_a_licence"),
    row(8, "Users: list/one", "test_the_owner_is_listed_as_a_user"),
    row(8, "Executions: `GET /executions", "test_executions_are_an_empty_page_at_first test_executions_can_be_asked_for_by_status "
           "test_2x_knows_more_of_executions test_executions_are_newest_first_behind_a_key_set_cursor "
           "test_executions_by_the_adapter test_a_call_of_a_webhook_leaves_an_execution "
           "test_a_failed_execution_tells_its_node_and_why "
           "test_a_success_leaves_nothing_where_the_workflow_keeps_none "
           "test_a_form_takes_parts_and_is_shown_without_being_started", measured="items carry workflowVersionId (2.x) only with includeData"),
    row(8, "`POST /audit {}`", "test_an_audit_is_an_object_by_report"),
    row(8, "V2 only, no licence asked", "test_packages_are_exported_by_2x_alone"),
    # 13. Found later
    row(13, "n8n v1 execution order", why="what the engine does when it runs, not an answer of the API; domain.execution_order"),
    row(13, "Publishing a workflow that calls", "test_2x_publishes_no_caller_of_an_unpublished_workflow "
           "test_a_workflow_that_is_only_called_is_published_by_2x_alone "
           "test_2x_looks_up_every_call_but_those_it_cannot_know "
           "test_what_a_published_workflow_calls_can_be_taken_away_and_then_it_cannot_be_written "
           "test_two_that_call_each_other_are_published_by_way_of_one_that_does_not_yet"),
    row(13, "PUT without a node's `webhookId`", "test_a_webhook_id_left_out_on_put_is_made_anew_in_2x"),
    row(13, "An empty `data: {}` is refused", "test_empty_data_are_refused_where_the_type_requires_some"),
    row(13, '`staticData: {"wfops"', "test_a_marker_in_static_data_is_found_in_the_list_and_cleared_without_a_new_version"),
    row(13, "Integers beyond 2^53", "test_integers_beyond_2_to_the_53_are_rounded"),
]
