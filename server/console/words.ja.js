// The console's words in Japanese.

export const JA = {
  // Pages and the bar.
  floor: "フロア", alerts: "アラート", reports: "レポート", main: "主なページ", queue: "窓口", all: "すべて", other: "English", other_code: "en",
  sound: "音", sound_on: "音あり", sound_off: "音なし", push_on: "通知あり", push_off: "通知なし", theme: "配色", theme_auto: "配色 自動", theme_light: "配色 明", theme_dark: "配色 暗",
  sign_out: "サインアウト", close: "閉じる", skip: "本文へ",
  // Connection.
  connected: "接続中", connecting: "接続しています", lost_short: "切断", lost: "監視できていません",
  lost_why: "サーバーとの接続が {time} に切れました。再接続しています。表示は切断前のものです。", lost_never: "サーバーに接続できません。再接続しています。",
  degraded: "監視が一部できていません", degraded_why: "検知に問題があります（{reason}）。静かに見えても安全とは限りません。",
  unwell_model: "判定モデルがなく、語彙リストだけで見ています。", unwell_disk: "ディスクの空きが少なく、新しい通話を受け付けていません。", unwell_load: "混雑のため、新しい通話を受け付けていません。",
  unwell_calls: "正しく追跡できない通話があります。", unwell_delivery: "通知先に届いていません。届くまで送り直します。", unwell_listeners: "アラートを読み取らない接続先があります。", unwell_background: "裏方の処理が止まり、やり直しています。",
  // Levels.
  none: "平常", notice: "注意", warning: "警告", escalate: "交代", critical: "緊急", level: "レベル",
  // Kinds and labels.
  abuse: "暴言・脅し等", repetition: "堂々巡り", overlong: "長時間", distress: "支援要請",
  verbal_abuse: "暴言", threat: "脅迫", exposure: "晒し", excessive_demand: "過大な要求", authority: "権威", discrimination: "差別", sexual: "性的言動", intrusion: "個人攻撃",
  help: "助けを求めています", caller_at_risk: "発信者の安全", apology_loop: "謝罪の繰り返し", silence_after_abuse: "暴言後の沈黙", complaint: "正当な苦情", harassment: "カスハラ", false_alarm: "誤検知",
  // Monitoring.
  ok: "監視中", incomplete: "欠落あり", degraded_state: "一部未採点", lost_state: "監視できていません", unsupported_language: "対応外の言語", ended: "通話終了", blind: "監視外", monitoring: "監視",
  turned: "話者の表示を入れ替えました",
  // The floor.
  live_calls: "通話一覧", no_calls: "通話はありません", no_match: "この条件の通話はありません", operator: "オペレーター", what: "内容", trend: "傾向", rising: "上昇", falling: "下降", steady: "横ばい",
  talk: "通話時間", limit: "目安", hold: "保留 {time}", rounds: "繰返し", rounds_n: "{n}回", step: "手順", care: "対応", show: "表示するレベル",
  untaken: "未対応", with: "{name} 対応中", snoozed_short: "再通知待ち", clear_filter: "絞り込みを解除",
  // The inbox.
  waiting: "対応待ち", taken: "対応中", over: "終了した通話 — 結果の入力待ち", join_first: "まずこの通話へ", nothing_waits: "対応待ちはありません",
  muted_n: "音を抑えたアラート {n}件", muted_why: "短時間に多く届いたため、交代未満は音と通知を抑えています。アラート自体はすべて表示されます。",
  open_call: "通話を開く", acknowledge: "対応する", assign: "担当を割り当て", assign_to: "担当者", snooze: "5分後に再通知", resolve: "結果を入力", more: "詳しく",
  provisional: "速報（確定前）", late: "遅れて検出", raised_at: "{time} 発生", passed_on: "{n}段目に引き継ぎ", told: "通知先: {names}", earlier_calls: "過去の通話でも同じ申し出（{n}回）",
  refer: "根拠", why: "理由", supervisor: "管理者の対応", phrase: "オペレーターの読み上げ文", copy: "コピー", copied: "コピーしました", law: "該当しうる法令（断定ではありません）", versions: "規則 {rules} ・ モデル {model}",
  by: "対応: {name}", assigned_to: "担当: {name}",
  keys: "J/K 移動 ・ A 対応 ・ S 再通知 ・ R 結果 ・ Enter 通話を開く ・ Esc 戻る ・ M 音 ・ ? 操作一覧",
  // Answers to commands.
  first: "先に {name} さんが対応しています（{time}）", first_closed: "すでに終了しています（{name}）", error: "操作できませんでした。もう一度お試しください", error_connection: "接続が切れているため操作できません", not_found: "アラートが見つかりません", forbidden: "権限がありません",
  // The call.
  call: "通話", transcript: "文字起こし", customer: "お客様", agent: "オペレーター", unknown: "不明", partial: "認識中", newest: "最新へ", no_words: "まだ発話がありません", listen: "聞く", takeover: "引き継ぐ",
  procedure: "終話の手順", procedure_why: "オペレーター自身の発話で確認できた手順だけが進みます", caution: "お願い", first_warning: "一次警告", final_warning: "最終警告", may_end: "終話可", done: "済", next: "次", step_takeover: "引き継ぎ",
  circles: "同じ申し出の繰り返し", round_n: "{n}回目", answered: "回答", no_alerts_here: "この通話のアラートはありません", gone: "この通話は現在ありません", back: "フロアへ戻る", flag: "見逃しを報告", flag_why: "検知されなかった発話を報告します。検知の改善に使われます。", flagged: "報告しました", flag_labels: "該当するもの", send: "送信", incident: "報告書",
  // Resolving.
  outcome: "結果", note: "メモ（任意）", cancel: "やめる", outcome_harassment: "カスハラだった", outcome_complaint: "正当な苦情だった", outcome_false_alarm: "誤検知だった", save: "記録する",
  // History.
  history: "アラートの履歴", state: "状態", open: "未対応", acknowledged: "対応中", snoozed: "再通知待ち", resolved: "終了", retracted: "取り下げ", expired: "通話終了で消滅", kind: "種類", when: "日時", evidence: "根拠となる発話", filter_text: "検索", none_found: "該当するアラートはありません", load_more: "さらに表示", shown_n: "{n}件を表示", refresh: "更新", loading: "読み込み中", failed: "読み込めませんでした",
  // Reports.
  typical: "半数は{half}以内、9割は{most}以内", period: "期間", days_n: "直近{n}日", calls_n: "通話", calls_warned: "警告以上の通話", share_warned: "警告以上の割合", alerts_n: "アラート", handle: "平均通話時間", ack_time: "対応までの時間", false_share: "誤検知の割合", of_resolved: "結果が入力されたもののうち", by_day: "日別", by_hour: "時間帯別", by_queue: "窓口別", by_label: "内容別", by_level: "レベル別", by_kind: "種類別", count: "件数", share: "割合", day: "日", hour: "時",
  print: "印刷", csv: "CSV", json: "JSON", no_data: "この期間のデータはありません", as_table: "表で見る", load: "オペレーターの負荷", load_why: "休憩や配慮のための目安です。評価や順位付けには使えません。", break_hint: "休憩を勧めてください", hidden_group: "5人未満の窓口は個人が特定されうるため表示しません", names_lead: "氏名は責任者のみに表示されます", last_hours: "直近{n}時間", exposed_calls: "警告以上の通話", exposed_time: "その通話時間", agents_n: "オペレーター数", break_n: "休憩を勧めたい人数", hint: "目安",
  // The operator's page.
  my_call: "応対サポート", say: "読み上げる文", help_button: "助けを呼ぶ", help_sent: "管理者に知らせました", help_taken: "{name} が対応しています", help_failed: "送信できませんでした。口頭で知らせてください", waiting_call: "通話を待っています", calm_call: "落ち着いて、通常どおり応対してください", op_notice: "注意して聞いてください", op_warning: "不適切な言動があります。無理に耐える必要はありません", op_escalate: "管理者が確認します。ひとりで抱えないでください", op_critical: "安全を最優先に。管理者の指示に従ってください", call_over: "通話は終わりました。お疲れさまでした", not_watched: "いまは自動では見守れていません。必要なら助けを呼んでください", no_call: "通話が指定されていません",
  // Signing in.
  sign_in: "サインイン", name: "名前", password: "パスワード", or_provider: "会社のアカウントでサインイン", wrong: "名前かパスワードが違います", too_many: "試行回数が多すぎます。しばらくお待ちください", no_role: "この権限ではコンソールを使えません", signed_out: "セッションが終わりました。もう一度サインインしてください",
  // Keys.
  help_title: "キーボード操作", key_move: "アラートを移動", key_ack: "対応する", key_snooze: "5分後に再通知", key_resolve: "結果を入力", key_open: "通話を開く", key_back: "戻る", key_sound: "音の切り替え", key_copy: "読み上げ文をコピー", key_pages: "フロア・アラート・レポート", key_help: "この一覧",
};
