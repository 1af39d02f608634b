-- Sessions that are over, by the day on which they began.
select
    (session_start_time at time zone 'UTC')::date as day,
    count(*) as sessions,
    count(distinct user_id) as users,
    avg(session_duration_seconds)::double precision as mean_duration_seconds,
    avg(page_views)::double precision as mean_page_views,
    (count(*) filter (where end_reason = 'timeout'))::double precision / count(*) as timeout_share
from {{ source('activity', 'session_history') }}
where end_reason <> 'open'
group by 1
