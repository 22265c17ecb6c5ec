// The console's words in English.

export const EN = {
  // Pages and the bar.
  floor: "Floor", alerts: "Alerts", reports: "Reports", main: "Main pages", queue: "Queue", all: "All", other: "日本語", other_code: "ja",
  sound: "Sound", sound_on: "Sound on", sound_off: "Sound off", push_on: "Pop-ups on", push_off: "Pop-ups off", theme: "Colours", theme_auto: "Colours: auto", theme_light: "Colours: light", theme_dark: "Colours: dark",
  sign_out: "Sign out", close: "Close", skip: "To the content",
  // Connection.
  connected: "Connected", connecting: "Connecting", lost_short: "Disconnected", lost: "NOT MONITORED",
  lost_why: "The connection to the server was lost at {time}; trying again. What you see is from before.", lost_never: "The server cannot be reached; trying again.",
  degraded: "NOT FULLY MONITORED", degraded_why: "Detection has a problem ({reason}). Quiet does not mean safe.",
  unwell_model: "The model is missing: only the word lists watch.", unwell_disk: "Disk space is low: new calls are not taken.", unwell_load: "Too busy: new calls are not taken.",
  unwell_calls: "Some calls cannot be followed rightly.", unwell_delivery: "A receiver of notifications is not reached; they are sent again.", unwell_listeners: "A client does not read its alerts.", unwell_background: "Work in the background stopped and is tried again.",
  // Levels.
  none: "Calm", notice: "Notice", warning: "Warning", escalate: "Escalate", critical: "Critical", level: "Level",
  // Kinds and labels.
  abuse: "Abuse", repetition: "Going in circles", overlong: "Overlong", distress: "Support needed",
  verbal_abuse: "Verbal abuse", threat: "Threat", exposure: "Exposure", excessive_demand: "Excessive demand", authority: "Authority", discrimination: "Discrimination", sexual: "Sexual", intrusion: "Intrusion",
  help: "Asks for help", caller_at_risk: "Caller at risk", apology_loop: "Apology loop", silence_after_abuse: "Silence after abuse", complaint: "Fair complaint", harassment: "Harassment", false_alarm: "False alarm",
  // Monitoring.
  ok: "Monitored", incomplete: "Incomplete", degraded_state: "Partly unscored", lost_state: "Not monitored", unsupported_language: "Language not supported", ended: "Call ended", blind: "Not monitored", monitoring: "Monitoring",
  turned: "Speakers were the wrong way round and are shown corrected",
  // The floor.
  live_calls: "Live calls", no_calls: "No calls", no_match: "No call fits this filter", operator: "Operator", what: "What", trend: "Trend", rising: "rising", falling: "falling", steady: "steady",
  talk: "Talk time", limit: "limit", hold: "hold {time}", rounds: "Rounds", rounds_n: "{n}×", step: "Step", care: "Care", show: "Levels shown",
  untaken: "Nobody yet", with: "With {name}", snoozed_short: "Snoozed", clear_filter: "Clear the filter",
  // The inbox.
  waiting: "Waiting", taken: "Being handled", over: "Calls that ended — outcome missing", join_first: "Join this call first", nothing_waits: "Nothing is waiting",
  muted_n: "{n} alerts kept quiet", muted_why: "Many came in a short time, so sound and pop-ups below Escalate are held back. Every alert is still shown.",
  open_call: "Open call", acknowledge: "Take it", assign: "Assign", assign_to: "Person", snooze: "Snooze 5 min", resolve: "Outcome", more: "More",
  provisional: "Provisional", late: "Found late", raised_at: "raised {time}", passed_on: "passed on, tier {n}", told: "told: {names}", earlier_calls: "Same complaint in earlier calls ({n})",
  refer: "Guideline", why: "Why", supervisor: "What you do", phrase: "Words for the operator", copy: "Copy", copied: "Copied", law: "Law that may apply (not a verdict)", versions: "rules {rules} · model {model}",
  by: "With {name}", assigned_to: "Assigned to {name}",
  keys: "J/K move · A take · S snooze · R outcome · Enter open call · Esc back · M sound · ? all keys",
  // Answers to commands.
  first: "{name} was first ({time})", first_closed: "Already closed ({name})", error: "That did not work; please try again", error_connection: "Not possible while disconnected", not_found: "No such alert", forbidden: "Not allowed",
  // The call.
  call: "Call", transcript: "Transcript", customer: "Customer", agent: "Operator", unknown: "Unknown", partial: "being recognised", newest: "To the newest", no_words: "Nothing said yet", listen: "Listen in", takeover: "Take over",
  procedure: "Ending procedure", procedure_why: "A step counts only when the operator's own words gave it", caution: "Caution", first_warning: "First warning", final_warning: "Final warning", may_end: "May end", done: "done", next: "next", step_takeover: "Take over",
  circles: "The same complaint again", round_n: "Round {n}", answered: "Answer", no_alerts_here: "No alerts on this call", gone: "This call is not live", back: "Back to the floor", flag: "Report a miss", flag_why: "Reports an utterance that was not detected; it helps to improve detection.", flagged: "Reported", flag_labels: "What it was", send: "Send", incident: "Report",
  // Resolving.
  outcome: "Outcome", note: "Note (optional)", cancel: "Cancel", outcome_harassment: "It was harassment", outcome_complaint: "It was a fair complaint", outcome_false_alarm: "It was a false alarm", save: "Record",
  // History.
  history: "History of alerts", state: "State", open: "Open", acknowledged: "Being handled", snoozed: "Snoozed", resolved: "Resolved", retracted: "Retracted", expired: "Ended with the call", kind: "Kind", when: "When", evidence: "Evidence", filter_text: "Search", none_found: "No alerts fit", load_more: "Show more", shown_n: "{n} shown", refresh: "Refresh", loading: "Loading", failed: "Could not be loaded",
  // Reports.
  typical: "half within {half}, 90 % within {most}", period: "Period", days_n: "last {n} days", calls_n: "Calls", calls_warned: "Calls at Warning or above", share_warned: "Share at Warning or above", alerts_n: "Alerts", handle: "Mean talk time", ack_time: "Time until taken", false_share: "False alarms", of_resolved: "of those with an outcome", by_day: "By day", by_hour: "By hour of day", by_queue: "By queue", by_label: "By what it was", by_level: "By level", by_kind: "By kind", count: "Count", share: "Share", day: "Day", hour: "Hour",
  print: "Print", csv: "CSV", json: "JSON", no_data: "Nothing in this period", as_table: "As a table", load: "Load on operators", load_why: "A hint for breaks and care; never a rating or ranking.", break_hint: "Offer a break", hidden_group: "Queues with fewer than five operators are hidden: single people could be recognised", names_lead: "Names are shown to leads only", last_hours: "last {n} hours", exposed_calls: "Calls at Warning or above", exposed_time: "Time in them", agents_n: "Operators", break_n: "Who could use a break", hint: "Hint",
  // The operator's page.
  my_call: "Call support", say: "You can say", help_button: "Call for help", help_sent: "Your supervisor was told", help_taken: "{name} is on it", help_failed: "Could not be sent; please call out", waiting_call: "Waiting for the call", calm_call: "All calm; carry on as usual", op_notice: "Listen with care", op_warning: "This is not acceptable behaviour. You do not have to put up with it", op_escalate: "A supervisor is being brought in. You are not alone", op_critical: "Safety first. Follow your supervisor", call_over: "The call is over. Thank you", not_watched: "This call is not being watched now. Call for help if you need it", no_call: "No call was given",
  // Signing in.
  sign_in: "Sign in", name: "Name", password: "Password", or_provider: "Sign in with the company account", wrong: "Name or password is wrong", too_many: "Too many tries; please wait", no_role: "This role cannot use the console", signed_out: "Your session has ended; please sign in again",
  // Keys.
  help_title: "Keyboard", key_move: "Move between alerts", key_ack: "Take it", key_snooze: "Snooze 5 min", key_resolve: "Enter the outcome", key_open: "Open the call", key_back: "Back", key_sound: "Sound on or off", key_copy: "Copy the operator's words", key_pages: "Floor, alerts, reports", key_help: "This list",
};
