-- Vehicles that were seen on a route in an hour.
select
    date_trunc('hour', event_time) as hour,
    route_id,
    count(*) as observations,
    count(distinct coalesce(vehicle_id, trip_id, entity_id)) as vehicles,
    avg(speed) as mean_speed
from {{ source('transit', 'vehicle_positions') }}
where route_id is not null
group by 1, 2
