-- Windows are aligned to the epoch, and as long as they are set.
select 'page_view_counts' as relation, window_start
from {{ source('activity', 'page_view_counts') }}
where window_end - window_start <> interval '1 minute' or extract(second from window_start) <> 0
union all
select 'active_users', window_start
from {{ source('activity', 'active_users') }}
where window_end - window_start <> interval '5 minutes' or extract(second from window_start) <> 0
