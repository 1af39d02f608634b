-- How late trips reach a stop, in seconds.
select
    stop_id,
    count(*) as updates,
    avg(arrival_delay) as mean_arrival_delay,
    max(arrival_delay) as worst_arrival_delay
from {{ source('transit', 'trip_updates') }}
where stop_id is not null and arrival_delay is not null
group by 1
