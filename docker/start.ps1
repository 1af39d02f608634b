# Starts tidegate and what it needs, and waits until all of it is healthy.
# usage: powershell -ExecutionPolicy Bypass -File docker/start.ps1 [PROFILE...]
#        activity (the default), iot, hydraulic, transit, generate, monitoring, dbt; -Prepare only makes .env and secrets/
# The first start makes docker/.env, with passwords drawn at random, and docker/secrets/.
param(
    [switch]$Prepare,
    [Parameter(ValueFromRemainingArguments = $true)][string[]]$Profiles
)
$ErrorActionPreference = 'Stop'
Set-Location -Path $PSScriptRoot

function New-Secret {
    $letters = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789'
    $bytes = New-Object byte[] 32
    $generator = [System.Security.Cryptography.RandomNumberGenerator]::Create()
    $generator.GetBytes($bytes)
    -join ($bytes | ForEach-Object { $letters[$_ % $letters.Length] })
}

# Files of Unix containers: no byte order mark, lines that end with a line feed alone.
function Write-Text([string]$Path, [string]$Text) {
    [System.IO.File]::WriteAllText((Join-Path $PSScriptRoot $Path), $Text, (New-Object System.Text.UTF8Encoding($false)))
}

if (-not (Test-Path .env)) {
    # Every password of the example is drawn anew.
    $lines = Get-Content .env.example -Encoding UTF8 | ForEach-Object {
        if ($_ -match '^([A-Z_]+)=change-me$') { "$($Matches[1])=$(New-Secret)" } else { $_ }
    }
    Write-Text '.env' (($lines -join "`n") + "`n")
    Write-Output 'made docker/.env, with new passwords'
}
New-Item -ItemType Directory -Force -Path secrets | Out-Null
# Alertmanager wants a webhook that looks like an address; nothing arrives until it is yours.
$secrets = @{
    tidegate_web_token = New-Secret
    slack_webhook_url  = 'https://hooks.slack.com/services/put/yours/here'
    smtp_password      = 'change-me'
}
foreach ($name in $secrets.Keys) {
    if (-not (Test-Path "secrets/$name")) {
        Write-Text "secrets/$name" $secrets[$name]
        Write-Output "made docker/secrets/$name"
    }
}
if ($Prepare) { exit 0 }

if (-not $Profiles) { $Profiles = @('activity') }
$known = @('activity', 'iot', 'hydraulic', 'transit', 'generate', 'monitoring', 'dbt')
$arguments = @('compose')
foreach ($profile in $Profiles) {
    if ($known -notcontains $profile) {
        Write-Error "there is no profile ${profile}: $($known -join ', ')" -ErrorAction Continue
        exit 2
    }
    $arguments += @('--profile', $profile)
}
# `--wait` takes a service that has done its work, as the one that makes topics, for one that has failed.
& docker ($arguments + @('up', '--build', '--detach'))
if ($LASTEXITCODE -ne 0) { exit $LASTEXITCODE }
Write-Output 'waiting until all are healthy'
for ($i = 0; $i -lt 60; $i++) {
    $waiting = & docker ($arguments + @('ps', '--format', '{{.Service}} {{.Health}}')) | Where-Object { $_ -match ' (starting|unhealthy)$' }
    if (-not $waiting) { break }
    Start-Sleep -Seconds 5
}
& docker ($arguments + @('ps'))
if ($waiting) {
    Write-Error "not healthy: $($waiting -join ', '); see their logs" -ErrorAction Continue
    exit 1
}
Write-Output 'tidegate''s page: http://localhost:4040 (any user, password: docker/secrets/tidegate_web_token)'
Write-Output 'stop: docker compose -f docker/docker-compose.yml --profile * down'
