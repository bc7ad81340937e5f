"""The commented configuration that `vendorwire init` writes: documentation and example at once."""

STARTER = """\
# Vendorwire. `vendorwire check` reads this file, reports every fault with its line, and tries each account.
#
# ${NAME} stands for an environment variable, ${file:/path} for what a file holds (without its last line break).
# Secrets belong there and not in this file; a secret's file is read again whenever it is used.
# Lengths of time are written 30s, 15m, 2h, 30d. Relative paths start in the folder the agent is started in.

bus:
  # Without a url the agent starts a NATS server of its own, on this machine, with its files here:
  data: ./vendorwire-data
  # With one (or a list of them) it uses the NATS server that is there, 2.12.12 or 2.14.3 or newer, with JetStream:
  # url: nats://nats:4222
  # One way to sign in to it:
  # credentials: /etc/nats/agent.creds
  # user: vendorwire
  # password: "${NATS_PASSWORD}"
  # token: "${NATS_TOKEN}"
  # nkey: "${file:/etc/nats/agent.nk}"
  # tls: {ca: /etc/nats/ca.pem, cert: /etc/nats/agent.pem, key: /etc/nats/agent.key}
  # inbox_prefix: _INBOX.vendorwire   # where answers come to: one of its own for each user of the server
  # replicas: 1          # copies of each stream in a cluster: 1, 3 or 5
  # max_bytes: 10000000000  # the largest the ledger may grow, in bytes; full, it refuses instead of forgetting
  keep_events: 30d       # how long events stay for subscribers; snapshots stay for good
  prefix: vendorwire     # the first word of every subject, stream and bucket

http:
  listen: "127.0.0.1:8787"   # /livez /readyz /metrics
  # admin_token: "${VENDORWIRE_ADMIN_TOKEN}"   # for the console: to act, and to look from elsewhere

grace: 6s                # how long a shutdown may take; keep it shorter than the pod's termination grace

defaults:                # each may also be set on an account
  first_sync: baseline   # the first sweep only stores what is there; `events` publishes `created` for each record
  deletes: {max_ratio: 0.2}  # when more of the records than this vanish at once, a person approves the deletes
  redact: []             # record fields neither stored nor published, such as [guest.email, guest.phone]

accounts:
  - vendor: octorate
    name: hotel-roma     # lower-case letters, digits and -; part of every subject, so choose it for good
    client_id: "${OCTORATE_ID}"
    client_secret: "${OCTORATE_SECRET}"
    refresh_token: "${OCTORATE_REFRESH}"   # from the one-time consent; or none, VENDORWIRE_KEY and `vendorwire authorize`
    every: {booking: 60s, property: 1h}    # how often each resource is polled
    # accommodations: ["112696"]   # the ids to read, in quotes; left out, all that the token may see
    # timezone: Europe/Rome        # where the vendor does not tell
    # budget: {requests: 60, per: 5m}   # at most so many requests; left out, 100 in 5m for each accommodation
    # reconcile: 24h               # how often a resource that is read incrementally is swept whole
    # window_past: 30d             # how far a whole sweep of bookings looks back
    # window_ahead: 540d           # and ahead
    # token_lifetime: 24h          # how long an access token serves where the vendor does not tell
    # redirect_uri: https://localhost/vendorwire   # registered with Octorate: where the browser ends with the code
    # consent_url: https://admin.octorate.com/octobook/identity/oauth.xhtml
    # grant_type: code             # of the code's exchange; some send authorization_code
    # hint_secret: "${OCTORATE_HINT}"   # lets Octorate's webhooks have bookings read at once; see docs/connectors.md
    # hint_events: [RESERVATION_CREATED, RESERVATION_CHANGE]   # what `vendorwire authorize --subscribe` subscribes
    # subscription_path: /rest/v1/subscription
    # base_url: https://api.octorate.com/connect
    # consent_url, redirect_uri, grant_type: how `vendorwire authorize` asks; see docs/operations.md
#
#  - vendor: ipro
#    name: cottages
#    base_url: https://cottages.example.com   # each site has its own address
#    client_id: "${IPRO_ID}"
#    client_secret: "${IPRO_SECRET}"
#    every: {booking: 60s, availability: 5m, property: 15m, enquiry: 15m}
#    currency: GBP                # of amounts for which the site gives neither a code nor a plain symbol
#    path: /apis                  # where the site's API begins
#    token_path: /oauth/2.0/token
#    page_size: 200
#    months: 24                   # of a day calendar
#    availability_margin: 10m     # how far the availability check looks back beyond the last poll
#
#  - vendor: carbontrack
#    name: solar-fleet
#    username: "${CT_USER}"
#    password: "${CT_PASSWORD}"
#    every: {device: 60s, measurement: 5m, customer: 1h}
#    offline_after: 15m           # a device that is silent for longer is offline
#    overlap: 15m                 # how late measurements may be uploaded
#    window: 1h                   # the longest stretch of measurements asked for at once
#    timezone: Australia/Melbourne    # of device times that name none; left out, UTC
#    keep_ip_address: false
#    auth: oauth                  # or `header`: user and password on every request
#    token_path: /oauth/token     # the vendor's document also names /token
#    page_base: 0                 # what the vendor counts pages from; left out, it is found out
#    customer_page_size: 100
#
#  - vendor: powerpro
#    name: college
#    api_key: "${POWERPRO_KEY}"   # or username and password:
#    username: "${POWERPRO_USER}"
#    password: "${POWERPRO_PASSWORD}"
#    every: {course: 60s, enrolment: 60s, student: 15m}
#    keep: []                     # usi and date_of_birth are neither stored nor published unless named here
#    counters: false              # whether a course's number of enrolments is part of it
#    paths: {course: /courses, enrolment: /enrolments, student: /students}
#    login_path: /auth/login
#    refresh_path: /auth/refresh

routes:
  - name: crm
    events: ["booking.*"]          # <resource>.<change>; * stands for any
    # accounts: [hotel-roma]       # only of these accounts; left out, of all
    # vendors: [octorate]          # likewise
    # from: now                    # where a new route begins: now, all, or a time such as 2026-05-20T08:00:00Z
    # order: record                # or `none`, where a record's events may overtake each other
    webhook:
      url: https://crm.example.com/hooks
      secret: "${CRM_SECRET}"      # from `vendorwire secret`; of a list all sign, for a change without a gap
      # timeout: 15s
      # concurrency: 16            # requests at the same time
      # rate: 50                   # events a second at most
      # headers: {authorization: "${CRM_AUTHORIZATION}"}
      # retries: [5s, 30s, 2m, 10m, 30m, 2h, 6h, 12h, 24h, 24h]   # then it is a dead letter
      # format: cloudevents        # or `standard`, which is {type, timestamp, data}
      # allow_private: false       # true where the receiver is in this network; else private addresses are refused
  - name: ops
    events: ["account.*"]          # an account is in trouble, or well again
    subject: ops.alerts            # a NATS subject instead of a webhook
"""
