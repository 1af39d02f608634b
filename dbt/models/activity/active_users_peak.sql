-- The busiest 5 minutes of each hour. Distinct counts of windows do not add up: only their peak has a meaning.
select
    date_trunc('hour', window_start) as hour,
    max(active_user_count) as peak_active_users
from {{ source('activity', 'active_users') }}
group by 1
