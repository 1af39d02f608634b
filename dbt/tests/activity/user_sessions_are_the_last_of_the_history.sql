-- user_sessions is the latest session of session_history, for every user.
with latest as (
    select distinct on (user_id) user_id, session_start_time, session_end_time, session_duration_seconds
    from {{ source('activity', 'session_history') }}
    order by user_id, session_start_time desc, seq desc
)
select coalesce(u.user_id, l.user_id) as user_id
from {{ source('activity', 'user_sessions') }} as u
full join latest as l using (user_id, session_start_time, session_end_time, session_duration_seconds)
where u.user_id is null or l.user_id is null
