"""Every bound that is a promise or a protection, under one name with its unit and its reason.

Rooms import a limit from here instead of writing a number. What a user may change is a configuration option whose
default is here; the rest is fixed. Nothing here is read from the environment.
"""

from __future__ import annotations

from typing import Final

KIB: Final = 1024
MIB: Final = 1024 * KIB
GIB: Final = 1024 * MIB

# --- objects ----------------------------------------------------------------
INLINE_OBJECT_MAX_BYTES: Final = 100 * KIB
"""A value up to here travels inside messages and lives in its owner; beyond it goes to shared memory."""
INLINE_SUM_MAX_BYTES: Final = 10 * MIB
"""All inlined arguments of one task, or all its inlined results, stay below this."""
STORE_MIN_BYTES: Final = 75 * MIB
"""The smallest object store a node may be given."""
STORE_DEFAULT_MEMORY_FRACTION: Final = 0.3
"""Share of the available memory that the object store takes unless told otherwise."""
STORE_DEFAULT_MAX_BYTES: Final = 200 * 1000**3
"""The default never exceeds this, however large the machine."""
REPLICAS_STORE_SHARE: Final = 0.5
"""Replicas of other nodes' objects, and values without an owner, take at most this share of a node's store."""
REPAIRED_ORPHANS_SHARE: Final = 0.5
"""Copies of values without an owner are made anew while such values take at most this share of that room: perhaps
nobody needs them any more, and what living owners want to keep must not wait for the job's end."""
MISSED_COPIES_MAX: Final = 1000
"""A node remembers of so many objects why it has no copy though one was wanted."""
ORPHAN_SEARCH_MAX_S: Final = 15.0
"""Whether a copy of a value is left whose owner has ended is known after so long: longer than a head needs to be
replaced and a node's lease to end."""
HUGE_PAGES_FROM_BYTES: Final = 4 * MIB
"""A block of so much has at least one huge page inside, wherever it lies: it is worth asking the kernel for them."""
STORE_FULL_GRACE_S: Final = 2.0
"""How long a put waits for space before it gives ObjectStoreFullError."""

# --- functions and classes ----------------------------------------------------------------
FUNCTION_WARN_BYTES: Final = 10 * MIB
"""A pickled function above this probably captured data by accident: warn."""
FUNCTION_MAX_BYTES: Final = 100 * MIB
"""A pickled function above this is refused."""

TEMPLATES_KEPT_MAX: Final = 4096
"""Shapes of calls (function or method with its options) that a process remembers; older ones are made anew."""

# --- tasks and leases ----------------------------------------------------------------
TASK_MAX_RETRIES_DEFAULT: Final = 3
"""Attempts after the first that a task gets when its worker or node dies."""
LEASE_IDLE_MAX_S: Final = 0.5
"""An owner keeps an idle lease this long for the next task of the same shape."""
IDLE_WORKER_MAX_S: Final = 1.0
"""Idle workers above the soft limit (one per CPU) end after this."""
WORKER_REGISTER_MAX_S: Final = 60.0
"""A started worker that has not registered by then is given up and replaced."""
RETRY_BUDGET_PER_S: Final = 1000.0
RETRY_BUDGET_BURST: Final = 10_000.0
"""Retries that one owner starts at once, and then each second: a broken job must not keep the cluster busy."""
RETRY_BACKOFF_CAP_S: Final = 60.0
"""The longest pause between two attempts of a task with ``retry_backoff_s``, unless ``max_backoff_s`` says more."""
CANCEL_RETRY_PERIOD_S: Final = 2.0
"""A recursive cancel is repeated at this period until it is delivered."""

# --- actors ----------------------------------------------------------------
ASYNC_ACTOR_CONCURRENCY_DEFAULT: Final = 1000
"""Calls that an async actor runs at a time unless told otherwise."""
CHECKPOINT_HOLD_MAX_S: Final = 5.0
"""A checkpoint that is due holds calls of an async or threaded actor back for so long at most."""
CHECKPOINT_REQUEST_MAX_S: Final = 60.0
"""A checkpoint that was asked for fails when calls have run all the time until then."""
ACTOR_GRACEFUL_EXIT_MAX_S: Final = 30.0
"""After this a graceful exit becomes a kill."""
ACTOR_QUEUE_WARN_CALLS: Final = 5000
"""Queued calls at which the driver is warned, and again at each doubling."""

# --- resources and labels ----------------------------------------------------------------
RESOURCE_AMOUNT_MAX: Final = 10**14
"""The largest amount of one resource on one node."""
LABEL_PREFIX_MAX_CHARS: Final = 253
LABEL_NAME_MAX_CHARS: Final = 63

# --- processes ----------------------------------------------------------------
TERMINATE_GRACE_S: Final = 5.0
"""Between SIGTERM and SIGKILL."""
HANDSHAKE_MAX_S: Final = 10.0
"""A connection whose peer has not proven the token by then is closed."""
RETRANSMIT_MAX_MS: Final = 1000
"""What was lost is sent again at least so often (where the kernel lets us say so): a network that was away for 8 s is
noticed to be back before the node's lease ends."""
PATIENCE_MS: Final = 900_000
"""TCP's own patience with a host that acknowledges nothing; whether it lives is decided elsewhere, and sooner."""
CONNECT_MAX_S: Final = 3.0
"""A host that has not taken a TCP connection by then is out of reach; a stopped process's kernel takes it."""
SHORTAGE_MAX_S: Final = 2.0
"""Without free descriptors or processes a start or connection is tried again this long; then who waits is told."""
VIEW_BATCH_S: Final = 0.02
"""Changes of the cluster view are gathered this long before interested raylets are told."""
REPORT_EVERY_S: Final = 0.02
"""A raylet reports changes of its resources to a remote head at most this often."""
ANNOUNCE_EVERY_S: Final = 0.05
"""What concerns every node (joined, dead, a process or group is gone) is told at most this often, gathered."""
NEWS_PER_S_MAX: Final = 10_000
"""So many messages of news the head sends in a second at most: with more than 500 nodes news are gathered for longer
(2,000 nodes: 0.2 s)."""
HEAD_RETRY_MAX_S: Final = 2.0
"""The longest pause between two attempts of a raylet to reach the head."""
LINK_WINDOW_MAX: Final = 100_000
"""Messages between a raylet and the head that one keeps until the other has them; with more the session begins anew."""
LINK_ACK_EVERY: Final = 256
"""After so many of them it is told that they have arrived, or..."""
LINK_ACK_AFTER_S: Final = 1.0
"""...after so long."""
FAILURES_KEPT_S: Final = 30.0
"""A raylet repeats the deaths of processes of so long to a head that is new to it."""
FAILURES_KEPT_MAX: Final = 1000
"""At most so many."""
HEAD_AWAY_WARN_S: Final = 5.0
"""Programs are told that no head answers after so long."""
HEAD_SILENT_MAX_S: Final = 1.0
"""A raylet waits so long for a head that does not answer, or neither leads nor knows who does, before it asks another
one; for one that does not answer longer in each round of all heads.
"""
LEASE_HOPS_MAX: Final = 6
"""A lease request is passed on between raylets at most so often; then it waits where it can run."""
AVOID_UNREACHABLE_S: Final = 10.0
"""A node that a process of ours could not connect to gets no work from here so long (S 18); then it is tried again."""
VIEW_INTEREST_S: Final = 1.0
"""A raylet without waiting requests keeps listening to changes of the view so long."""

# --- nodes ----------------------------------------------------------------
HEARTBEAT_EVERY_S: Final = 1.0
"""A raylet tells the head so often that it lives: three are missing before it is suspect, and an idle node wakes once a
second (base/pulse.py)."""
SUSPECT_AFTER_S: Final = 3.0
"""A node that was not heard for so long gets no new work."""
NODE_ANSWER_MAX_S: Final = 2.0
"""Nor one that was asked to start or to reserve something and has not acknowledged it for so long: it may be deaf, or
silent since less than the above. Shorter would take a busy node for one."""
NODE_LEASE_TTL_S: Final = 10.0
"""A node that was not heard for so long, and whose port does not answer then, is dead; a stop of 8 s must not kill it
(S 13)."""
BRAKE_MAX_S: Final = 300.0
"""So long at most nobody is declared dead when most nodes fall silent together (S 19)."""
PROBE_MAX_S: Final = 1.5
"""How long a probe of a node's port waits for an answer: a lost first packet is sent again after a second."""

# --- head process ----------------------------------------------------------------
HEAD_CHILD_MAX_BYTES: Final = 64 * KIB
"""One packet between a node and its head process."""
HEAD_STOP_MAX_S: Final = 1.0
"""So long a head process that is to end may take to give up its term."""
STANDBY_REPORT_EVERY_S: Final = 0.5
"""A standby tells the leader how far it is at most so often."""
LEADER_LOOK_MAX_S: Final = 1.0
"""A standby whose connection to the leader broke waits so long for an answer before it takes the machine for silent."""

# --- supervised parts ----------------------------------------------------------------
PART_RETRY_FIRST_S: Final = 0.05
PART_RETRY_CAP_S: Final = 0.8
"""Waits before a part that failed (the autoscaler, a raylet's memory monitor or output) is tried again: doubling, with
jitter; it is back within 2 s (S 10)."""
PART_BARREN_CAP_S: Final = 30.0
"""Of a process that fails again and again before it has done any work: each try costs half a second of CPU time."""
PART_STEADY_AFTER_S: Final = 5.0
"""A part that worked for so long has recovered: its next failure is a first one."""
AUTOSCALER_SILENT_MAX_S: Final = 30.0
"""An autoscaler that has not asked its head anything for so long hangs, and is ended; a plan for thousands of waiting
shapes takes seconds."""
DASHBOARD_SILENT_MAX_S: Final = 10.0
"""A dashboard tells its node five times in this time that its loop turns; one that has not hangs, and is ended."""
DASHBOARD_START_MAX_S: Final = 10.0
"""A dashboard that has not said by then that it serves is ended: importing what it needs takes long on busy cores."""
DASHBOARD_PORTS_TRIED: Final = 50
"""Ports above the wanted one that are tried when it is taken, as in Ray."""
DASHBOARD_WAITING_MAX: Final = 100
"""Requests that a dashboard works on at a time; the next one gets 429 (R 8.36)."""
DASHBOARD_FRESH_S: Final = 0.7
DASHBOARD_SHARE: Final = 0.1
"""An answer of the head is shown to all for so long; where all take long, until asking again takes at most this share
of the time."""
DASHBOARD_QUESTIONS_MAX: Final = 4
"""Questions to the cluster at a time, each on a thread of the dashboard."""
DASHBOARD_CACHE_MAX_BYTES: Final = 64 * MIB
DASHBOARD_LOG_MAX_BYTES: Final = 4 * MIB
"""Of a job's output in one answer: the last of it."""

# --- metadata store ----------------------------------------------------------------
TXN_OPS_MAX: Final = 128
"""Operations in one branch of a store transaction, and its comparisons: etcd's default, so that all backends agree."""
TXN_ETCD_MAX_BYTES: Final = 1 * MIB
"""Keys and values of one transaction on etcd, whose servers refuse requests above 1.5 MiB."""
TXN_LOCAL_MAX_BYTES: Final = 256 * MIB
"""Keys and values of one transaction on SQLite or in memory."""
HISTORY_MAX_EVENTS: Final = 4_000
"""Changes that a SQLite or memory store keeps for watches and reads of the past; half goes when it has more. A head
that starts again reads them all, about 7 us each: they are in the time until it serves."""
HISTORY_KEPT_S: Final = 300.0
"""What is older is forgotten in etcd, as Kubernetes does: a standby that was away for longer reads everything anew."""
HISTORY_MAX_BYTES: Final = 64 * MIB
"""Keys and replaced values in that history."""
RECORD_CHUNK_BYTES: Final = 512 * KIB
"""A record of the head that is larger is kept in pieces of this size (a pickled class may have 100 MiB)."""
GROUP_COMMIT_MAX_REQUESTS: Final = 1024
"""Requests that share one commit of SQLite: beyond it the first would wait for the last."""
LEASE_MIN_TTL_S: Final = 0.05
LEASE_MAX_TTL_S: Final = 9_000_000.0
"""Bounds of a store lease; etcd grants whole seconds and not less than two by default."""
ETCD_REQUEST_MAX_S: Final = 5.0
"""How long a request to etcd is tried, all endpoints together, unless told otherwise."""
ETCD_ATTEMPT_MAX_S: Final = 1.5
"""A read that one endpoint has not answered by then is asked of the next."""
ETCD_WRITE_ATTEMPT_LEAST_S: Final = 1.0
ETCD_WRITE_PATIENCE: Final = 3.0
"""A write without an answer after so long, or after so many times what the last one took, is given up as unknown: when
etcd's leader dies, what was sent to it through another member is lost, and nobody says so. Never longer than
ETCD_REQUEST_MAX_S."""
ETCD_KEEP_ALIVE_ATTEMPT_MAX_S: Final = 0.3
"""The same for the renewal of a lease, which costs etcd no write: a frozen server must not cost a leader its term."""
ETCD_WATCH_PING_S: Final = 1.0
"""A silent watch is asked so often whether it lives; three times without an answer and another endpoint is used."""

# --- leadership of heads ----------------------------------------------------------------
LEADER_TTL_S: Final = 2.0
"""A head's lease: the least that etcd grants with its default election timeout. A machine that dies without a word is
replaced 1.3 to 2 s later, plus etcd's look at its leases (every 0.5 s)."""
LEADER_ALONE_TTL_S: Final = 3600.0
"""The same where no other process can use the store (SQLite): nobody waits for its end, and no stop or slow disk that
is shorter ends a term."""
LEADER_RENEWALS_PER_TTL: Final = 3
LEADER_ATTEMPTS_PER_TTL: Final = 9
"""A head's lease is renewed so often within its time, and so often while renewals are not answered."""
LEADER_MARGIN_FRACTION: Final = 0.15
"""Of the lease's time: a leader stops serving so long before its lease can end, for clocks that run at other speeds."""
LEADER_REST_S: Final = 1.0
"""A head that handed over on purpose leaves the leader key to others for so long."""
ELECTION_RETRY_FIRST_S: Final = 0.05
ELECTION_RETRY_CAP_S: Final = 1.0
"""Waits before a head asks a store again that refused or did not answer: doubling, with jitter."""
REPLICA_PAGE_KEYS: Final = 500
"""Keys that a standby reads at a time when it fills its copy of the store."""

# --- memory of nodes ----------------------------------------------------------------
MEMORY_USAGE_THRESHOLD: Final = 0.95
"""Above this share of its memory a node ends workers (R 7.17)."""
MEMORY_REFRESH_S: Final = 0.25
"""A node looks at its memory so often (R 7.17)."""
MEMORY_REFRESH_FAR_S: Final = 2.0
MEMORY_FASTEST_BYTES_PER_CPU_S: Final = 4 * GIB
"""It looks as seldom as this while so much is free that its CPUs could not fill it meanwhile, at this pace each."""
MEMORY_LOOK_MIN_S: Final = 0.01
"""While memory grows quickly a node looks earlier, but not more often than this."""
MEMORY_BUFFER_FRACTION: Final = 0.05
MEMORY_BUFFER_MAX_BYTES: Final = 3 * GIB
"""A round of kills frees that much below the threshold: the share of all memory, at most so many bytes (R 7.18)."""
FRESH_WORKER_SPARED_BYTES: Final = GIB
"""An idle worker that never ran anything is not ended for want of memory unless it holds more."""
VICTIM_EXIT_MAX_S: Final = 2.0
"""How long the next round of kills waits for the processes of the last one to be gone."""
IDLE_WORKER_TRIM_BYTES: Final = 64 * MIB
"""An idle worker that holds more private memory is asked to give back what its allocator keeps."""
IDLE_WORKER_MAX_BYTES: Final = 512 * MIB
IDLE_WORKER_MIN_BYTES: Final = 64 * MIB
"""An idle worker with more private memory ends; between the two, such that all idle ones hold a tenth of a node's."""
IDLE_WORKER_LOOK_AFTER_S: Final = 1.0
"""The memory of a worker is looked at when it has been idle for so long."""
OOM_RETRY_FIRST_S: Final = 1.0
OOM_RETRY_CAP_S: Final = 60.0
"""Waits before a task runs again that was ended for want of memory: doubling from the first to the cap (R 4.20)."""

# --- what the head remembers of what is over (docs/heads.md) ---
DEAD_ACTORS_MAX_BYTES: Final = 32 * MIB
"""Records of dead actors, kept for inspection: about 10,000 without long error texts."""
ENDED_JOBS_MAX_BYTES: Final = 8 * MIB
DEAD_NODES_MAX_BYTES: Final = 8 * MIB
REMOVED_GROUPS_MAX_BYTES: Final = 4 * MIB
REMOVED_GROUP_NAMES_MAX_BYTES: Final = 8 * MIB
"""Ids of groups that were removed: what still wants to start in one is refused."""
PROFILE_EVENTS_MAX_BYTES: Final = 32 * MIB
"""Of `timeline()`."""
CLUSTER_EVENTS_MAX_BYTES: Final = MIB
"""Of `list_cluster_events()`."""
KEEPERS_MAX_BYTES: Final = 16 * MIB
"""Which nodes keep replicas for which owners: about 11,000 owners with two nodes each."""
KEY_VALUE_MAX_BYTES: Final = 512 * MIB
"""Keys and values of the internal key-value store, which all live: nothing is evicted, what does not fit is refused."""

# --- submitted jobs (docs/jobs.md) ---
JOB_STOP_GRACE_S: Final = 3.0
"""Between SIGTERM and SIGKILL for the processes of a job's entrypoint (R 8.34)."""
JOB_START_MAX_S: Final = 900.0
"""A job whose entrypoint has not been started once by then has failed (R 8.33)."""
JOB_HANDED_OVER_MAX_S: Final = 60.0
"""A job that was written down, and that nobody supervises after so long, never will be: who submitted it has died."""
JOB_RETRY_FIRST_S: Final = 1.0
JOB_RETRY_CAP_S: Final = 60.0
"""Waits between the attempts of a job: doubling, with jitter; the first failover has none."""
JOB_SPEC_MAX_BYTES: Final = 64 * KIB
"""Entrypoint, metadata and runtime environment of one job, as they are kept by the head."""
JOB_ATTEMPTS_KEPT: Final = 50
"""Records of attempts that stay with a job: the last ones."""
JOB_MESSAGE_MAX_CHARS: Final = 4000
"""Of what a job says of its state, the last lines of its log included."""
ENDED_SUBMISSIONS_MAX: Final = 1000
"""Records of submitted jobs that have ended; those that ended first go first. At most 100 MiB, usually 1."""

# --- the state API ----------------------------------------------------------------
STATE_ROWS_MAX: Final = 10_000
"""Rows that one source (a process, a node, the head) tells at a time; what is beyond is counted."""
TASKS_KEPT_PER_PROCESS: Final = 10_000
"""Ended tasks that the process which ran them remembers; about 200 bytes each."""
FAILURES_KEPT_PER_PROCESS: Final = 1000
"""Failed attempts with their reasons that a process remembers."""
TASKS_KEPT_PER_NODE: Final = 10_000
"""Ended tasks of processes that have ended, kept by their raylet; about 300 bytes each."""
ERROR_TEXT_MAX_CHARS: Final = 2000
"""Of an error's text in a record of the state API."""
DEAD_WORKERS_KEPT_PER_NODE: Final = 1000
"""Records of worker processes that have ended, kept by their raylet."""
STATE_PROCESS_ANSWER_MAX_S: Final = 5.0
"""A driver or worker that has not told what it does by then is named as missing in the list."""
